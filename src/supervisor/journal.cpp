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

bool match(sd_journal* journal, const std::string& invocation, Scope scope) {
  // What the processes wrote carries _SYSTEMD_INVOCATION_ID; what the manager wrote of them,
  // [USER_]INVOCATION_ID.
  const auto add = [&](const char* name) {
    return sd_journal_add_match(journal, (name + ("=" + invocation)).c_str(), 0) >= 0 &&
           sd_journal_add_disjunction(journal) >= 0;
  };
  return add("_SYSTEMD_INVOCATION_ID") &&
         add(scope == Scope::system ? "INVOCATION_ID" : "USER_INVOCATION_ID");
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
  bool complete = false;
};

Reading read(sd_journal* journal, std::size_t count) {
  Reading reading;
  sd_journal_seek_tail(journal);
  for (std::size_t n = 0; n < 4 * count && sd_journal_previous(journal) > 0; ++n) {
    reading.complete = reading.complete || is_last_word(field(journal, "MESSAGE_ID"));
    auto line = one_line(field(journal, "MESSAGE"));
    if (!line.empty() && reading.lines.size() < count) reading.lines.push_back(std::move(line));
  }
  std::reverse(reading.lines.begin(), reading.lines.end());
  return reading;
}

}  // namespace

JournalExcerpt journal_of(const std::string& invocation, Scope scope, std::size_t count, Duration patience) {
  sd_journal* opened = nullptr;
  if (invocation.empty() || sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY) < 0) return {{}, false};
  const Journal journal(opened);
  if (!match(journal.get(), invocation, scope)) return {};

  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto reading = read(journal.get(), count);
    const auto left = duration_cast<Duration>(end - std::chrono::steady_clock::now()).count();
    // A user outside the groups of the journal sees only his own: an empty answer may mean no access.
    if (reading.complete || left <= 0) {
      const bool readable = !reading.lines.empty();
      return {std::move(reading.lines), readable};
    }
    if (sd_journal_wait(journal.get(), static_cast<std::uint64_t>(std::min<std::int64_t>(left, 100'000))) < 0)
      return {std::move(reading.lines), true};
  }
}

}  // namespace stem
