#include "supervisor/journal.hpp"

#include <systemd/sd-id128.h>
#include <systemd/sd-journal.h>
#include <systemd/sd-messages.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "core/name.hpp"

namespace stem {
namespace {

struct CloseJournal {
  void operator()(sd_journal* journal) const { sd_journal_close(journal); }
};
using Journal = std::unique_ptr<sd_journal, CloseJournal>;

std::string field(sd_journal* journal, const char* name) {
  const void* data = nullptr;
  std::size_t size = 0;
  if (sd_journal_get_data(journal, name, &data, &size) < 0) return {};
  std::string_view text(static_cast<const char*>(data), size);
  return std::string(text.substr(std::min(text.find('=') + 1, text.size())));
}

/// One line without control characters, whatever a program wrote.
std::string one_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

/// What the processes wrote carries _SYSTEMD_INVOCATION_ID; what the manager wrote of them,
/// [USER_]INVOCATION_ID.
constexpr const char* own_invocation = "_SYSTEMD_INVOCATION_ID";
const char* told_invocation(Scope scope) {
  return scope == Scope::system ? "INVOCATION_ID" : "USER_INVOCATION_ID";
}

bool match(sd_journal* journal, const UnitFacts& facts, Scope scope) {
  const auto add = [&](const char* name, const std::string& value) {
    return sd_journal_add_match(journal, (name + ("=" + value)).c_str(), 0) >= 0 &&
           sd_journal_add_disjunction(journal) >= 0;
  };
  return add(own_invocation, facts.invocation) && add(told_invocation(scope), facts.invocation) &&
         (facts.last_pid <= 0 || add("_PID", std::to_string(facts.last_pid)));
}

/// Of a process that dies at once the journal often learns nothing but the pid: its lines count if they carry
/// no other invocation and are not older than the process. systemd's and the journal's clock are the same.
bool belongs(sd_journal* journal, const UnitFacts& facts, Scope scope, bool& by_process) {
  std::uint64_t at = 0;
  by_process = field(journal, "_PID") == std::to_string(facts.last_pid);
  const auto own = field(journal, own_invocation);
  if (own == facts.invocation || field(journal, told_invocation(scope)) == facts.invocation) return true;
  return by_process && own.empty() && facts.last_started && sd_journal_get_realtime_usec(journal, &at) >= 0 &&
         at >= static_cast<std::uint64_t>(facts.last_started->time_since_epoch().count());
}

/// True for the manager's message that the run is over.
bool is_last_word(const std::string& message_id) {
  for (const auto& id :
       {SD_MESSAGE_UNIT_FAILURE_RESULT_STR, SD_MESSAGE_UNIT_SUCCESS_STR, SD_MESSAGE_UNIT_FAILED_STR})
    if (message_id == id) return true;
  return false;
}

struct Reading {
  std::vector<std::string> lines;
  bool over = false;   // the manager has said so
  bool heard = false;  // the process has said something
};

Reading read(sd_journal* journal, const UnitFacts& facts, Scope scope, std::size_t count) {
  Reading reading;
  sd_journal_seek_tail(journal);
  for (std::size_t n = 0; n < 8 * count && sd_journal_previous(journal) > 0; ++n) {
    bool by_process = false;
    if (!belongs(journal, facts, scope, by_process)) continue;
    reading.heard = reading.heard || by_process;
    reading.over = reading.over || is_last_word(field(journal, "MESSAGE_ID"));
    auto line = one_line(field(journal, "MESSAGE"));
    if (!line.empty() && reading.lines.size() < count) reading.lines.push_back(std::move(line));
  }
  std::reverse(reading.lines.begin(), reading.lines.end());
  return reading;
}

/// What a process said last may come after what the manager says of its end: they write to different sockets.
constexpr Duration overlap = std::chrono::milliseconds{150};

}  // namespace

JournalExcerpt journal_of(const UnitFacts& facts, Scope scope, std::size_t count, Duration patience) {
  sd_journal* opened = nullptr;
  if (facts.invocation.empty() || sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY) < 0) return {{}, false};
  const Journal journal(opened);
  if (!match(journal.get(), facts, scope)) return {};

  auto end = std::chrono::steady_clock::now() + patience;
  for (bool shortened = false;;) {
    auto reading = read(journal.get(), facts, scope, count);
    const auto now = std::chrono::steady_clock::now();
    if (reading.over && !shortened) {
      end = std::min(end, now + overlap);
      shortened = true;
    }
    const auto left = duration_cast<Duration>(end - now).count();
    // A user outside the groups of the journal sees only his own: an empty answer may mean no access.
    if ((reading.over && reading.heard) || left <= 0) {
      const bool readable = !reading.lines.empty();
      return {std::move(reading.lines), readable};
    }
    if (sd_journal_wait(journal.get(), static_cast<std::uint64_t>(std::min<std::int64_t>(left, 100'000))) < 0)
      return {std::move(reading.lines), true};
  }
}

}  // namespace stem
