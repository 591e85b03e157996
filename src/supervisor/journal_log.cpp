#include <poll.h>
#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>
#include <systemd/sd-messages.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <stem/error.hpp>
#include <string_view>

#include "supervisor/journal.hpp"

namespace stem {
namespace {

/// The journal's messages of some units, from where the query begins.
class JournalLog {
 public:
  JournalLog(const std::vector<std::string>& nodes, Scope scope, const LogQuery& query) : query_(query) {
    sd_journal* opened = nullptr;
    check(sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY));
    journal_.reset(opened);
    for (const auto& node : nodes) match(unit_of(node), scope);
    // Before the first look, lest a message between the two is missed.
    if (query.follow) check(sd_journal_get_fd(opened));
    seek();
  }

  void read(LogReader& reader) {
    for (;;) {
      for (; at_entry_ || next(); at_entry_ = false) reader.line(entry());
      if (!reader.caught_up() || !query_.follow) return;
      if (!wait(reader.reader_fd())) return;
    }
  }

 private:
  struct Close {
    void operator()(sd_journal* journal) const { sd_journal_close(journal); }
  };

  static void check(int result) {
    if (result < 0)
      throw Error(result == -EACCES || result == -EPERM ? Exit::no_permission : Exit::unavailable,
                  std::string("cannot read the journal: ") + std::strerror(-result));
  }

  /// What `journalctl -u` shows: of the unit's processes, of the manager and others about it, and core dumps.
  void match(const std::string& unit, Scope scope) {
    const auto any_of = [&](std::initializer_list<std::string> all) {
      for (const auto& one : all) check(sd_journal_add_match(journal_.get(), one.c_str(), 0));
      check(sd_journal_add_disjunction(journal_.get()));
    };
    if (scope == Scope::user) {
      const auto uid = "_UID=" + std::to_string(getuid());
      any_of({"_SYSTEMD_USER_UNIT=" + unit, uid});
      any_of({"USER_UNIT=" + unit, uid});
      return;
    }
    any_of({"_SYSTEMD_UNIT=" + unit});
    any_of({"UNIT=" + unit, "_PID=1"});
    any_of({"OBJECT_SYSTEMD_UNIT=" + unit, "_UID=0"});
    any_of({"COREDUMP_UNIT=" + unit, "_UID=0", std::string("MESSAGE_ID=") + SD_MESSAGE_COREDUMP_STR});
  }

  void seek() {
    auto* journal = journal_.get();
    if (query_.last) {
      check(sd_journal_seek_tail(journal));
      const int found = sd_journal_previous_skip(journal, std::max<std::uint64_t>(*query_.last, 1));
      check(found);
      at_entry_ = found > 0 && *query_.last > 0;
      if (found > 0) return;
    }
    // Also where there is nothing yet: from the tail, nothing that comes later would be found.
    check(sd_journal_seek_head(journal));
  }

  bool next() {
    const int found = sd_journal_next(journal_.get());
    check(found);
    return found > 0;
  }

  std::string field(const char* name) const {
    const void* data = nullptr;
    std::size_t size = 0;
    if (sd_journal_get_data(journal_.get(), name, &data, &size) < 0) return {};
    const std::string_view text(static_cast<const char*>(data), size);
    return std::string(text.substr(std::min(text.find('=') + 1, text.size())));
  }

  template <typename Number>
  Number number(const char* name, Number otherwise) const {
    const auto text = field(name);
    std::from_chars(text.data(), text.data() + text.size(), otherwise);
    return otherwise;
  }

  LogLine entry() const {
    LogLine line;
    for (const char* name :
         {"_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "UNIT", "USER_UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT"})
      if (line.node.empty()) line.node = node_of(field(name));
    if (std::uint64_t at = 0; sd_journal_get_realtime_usec(journal_.get(), &at) >= 0)
      line.time = WallTime{Duration{static_cast<std::int64_t>(at)}};
    line.source = field("SYSLOG_IDENTIFIER");
    if (line.source.empty()) line.source = field("_COMM");
    line.pid = number<pid_t>("_PID", 0);
    line.priority = number<int>("PRIORITY", 6);
    line.text = field("MESSAGE");
    return line;
  }

  /// False: the reader has gone.
  bool wait(int reader_fd) {
    std::uint64_t until = UINT64_MAX;  // CLOCK_MONOTONIC, for file systems that tell nothing
    check(sd_journal_get_timeout(journal_.get(), &until));
    const auto now = duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()).count();
    const auto left = until == UINT64_MAX
                          ? -1
                          : std::max<std::int64_t>(static_cast<std::int64_t>(until) - now, 0) / 1000 + 1;
    pollfd events[] = {
        {sd_journal_get_fd(journal_.get()), static_cast<short>(sd_journal_get_events(journal_.get())), 0},
        {reader_fd, 0, 0}};
    if (poll(events, 2, static_cast<int>(std::min<std::int64_t>(left, 60'000))) < 0 && errno != EINTR)
      check(-errno);
    check(sd_journal_process(journal_.get()));
    return events[1].revents == 0;
  }

  const LogQuery query_;
  std::unique_ptr<sd_journal, Close> journal_;
  bool at_entry_ = false;  // one that has not been handed over
};

/// A user outside the journal's groups gets an empty journal rather than an error.
void require_access() {
  if (geteuid() == 0) return;
  sd_id128_t machine;
  char id[SD_ID128_STRING_MAX];
  if (sd_id128_get_machine(&machine) < 0) return;
  const std::string name = sd_id128_to_string(machine, id);
  bool there = false;
  for (const std::string place : {"/var/log/journal/", "/run/log/journal/"}) {
    const auto file = place + name + "/system.journal";
    if (access(file.c_str(), R_OK) == 0) return;
    there = there || access(file.c_str(), F_OK) == 0;
  }
  if (there)
    throw Error(Exit::no_permission,
                "user " + std::to_string(geteuid()) +
                    " may not read the system's journal; use sudo, or join the group systemd-journal");
}

}  // namespace

void read_journal(const std::vector<std::string>& nodes, Scope scope, const LogQuery& query,
                  LogReader& reader) {
  if (scope == Scope::system) require_access();
  JournalLog(nodes, scope, query).read(reader);
}

}  // namespace stem
