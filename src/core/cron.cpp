#include "core/cron.hpp"

#include <algorithm>
#include <charconv>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

using namespace std::chrono;

struct Names {
  int first;  // the number of the first name
  std::vector<std::string_view> words;
};
const Names no_names{0, {}};
const Names month_names{1,
                        {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}};
const Names weekday_names{0, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}};

struct Shortcut {
  std::string_view word, line;
};
constexpr Shortcut shortcuts[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"}};

std::string lower(std::string_view text) {
  std::string small(text);
  for (auto& c : small)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return small;
}

std::vector<std::string> split(std::string_view text, const char* separators) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; (at = text.find_first_not_of(separators, at)) != std::string_view::npos;) {
    const auto end = std::min(text.find_first_of(separators, at), text.size());
    parts.push_back(lower(text.substr(at, end - at)));
    at = end;
  }
  return parts;
}

/// One field of a cron line while it is read.
struct Field {
  std::string_view title;
  std::string text;
  int low, high;
  const Names& names;

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(Exit::data, "cron field " + std::string(title) + " '" + printable(text) + "': " + why);
  }
  std::string range() const { return std::to_string(low) + " to " + std::to_string(high); }

  int number(std::string_view word) const {
    for (std::size_t i = 0; i < names.words.size(); ++i)
      if (word == names.words[i]) return names.first + static_cast<int>(i);
    int value = 0;
    const auto end = word.data() + word.size();
    const auto [rest, error] = std::from_chars(word.data(), end, value);
    if (word.empty()) refuse("a number is missing");
    if (error != std::errc{} || rest != end)
      refuse("'" + printable(word) + "' is not a number" +
             (names.words.empty() ? "" : " or a name of three letters"));
    if (value < low || value > high)
      refuse(std::to_string(value) + " is out of range; it must be " + range());
    return value;
  }

  int step(std::string_view word) const {
    int value = 0;
    const auto end = word.data() + word.size();
    const auto [rest, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc{} || rest != end || value < 1 || value > high - low + 1)
      refuse("a step must be a whole number from 1 to " + std::to_string(high - low + 1));
    return value;
  }

  /// `*`, `7`, `1-5`, each perhaps with `/n`: what it stands for.
  std::vector<int> expand(std::string_view item) const {
    const auto slash = item.find('/');
    const auto base = item.substr(0, slash);
    int from = low, to = high;
    if (base != "*") {
      const auto dash = base.find('-');
      from = number(base.substr(0, dash));
      // `5/15` goes on to the end, as in every cron that knows it.
      to = dash != std::string_view::npos    ? number(base.substr(dash + 1))
           : slash != std::string_view::npos ? high
                                             : from;
      if (to < from)
        refuse("range " + std::string(base) + " runs backwards; write it as two, such as " +
               std::to_string(from) + "-" + std::to_string(high) + "," + std::to_string(low) + "-" +
               std::to_string(to));
    }
    const int by = slash == std::string_view::npos ? 1 : step(item.substr(slash + 1));
    std::vector<int> values;
    for (int value = from; value <= to; value += by) values.push_back(value);
    return values;
  }

  std::vector<std::string> items() const {
    std::vector<std::string> parts;
    for (std::size_t at = 0;;) {
      const auto comma = text.find(',', at);
      parts.push_back(text.substr(at, comma == std::string::npos ? comma : comma - at));
      if (parts.back().empty()) refuse("a value is missing between commas");
      if (comma == std::string::npos) return parts;
      at = comma + 1;
    }
  }

  template <std::size_t N>
  void fill(std::bitset<N>& bits) const {
    for (const auto& item : items())
      for (const int value : expand(item)) bits.set(static_cast<std::size_t>(value));
  }
};

template <std::size_t N>
void fill(std::bitset<N>& bits, const std::vector<int>& values, int low, int high, const char* title) {
  for (int value = low; values.empty() && value <= high; ++value) bits.set(static_cast<std::size_t>(value));
  for (const int value : values) {
    if (value < low || value > high)
      throw Error(Exit::data, std::string(title) + ": " + std::to_string(value) +
                                  " is out of range; it must be " + std::to_string(low) + " to " +
                                  std::to_string(high));
    bits.set(static_cast<std::size_t>(value));
  }
}

/// The first set bit at or above `from`; N if there is none.
template <std::size_t N>
int next_bit(const std::bitset<N>& bits, int from) {
  for (; from < static_cast<int>(N); ++from)
    if (bits.test(static_cast<std::size_t>(from))) return from;
  return static_cast<int>(N);
}

}  // namespace

ClockPattern ClockPattern::cron(std::string_view line) {
  std::string_view expanded = line;
  const auto words = split(line, " \t");
  if (!words.empty() && words[0].starts_with('@')) {
    for (const auto& shortcut : shortcuts)
      if (words.size() == 1 && words[0] == shortcut.word) expanded = shortcut.line;
    if (expanded == line)
      throw Error(Exit::data, "cron line '" + printable(line) +
                                  "': there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly "
                                  "and @annually; a scheduler has no @reboot");
  }
  auto fields = split(expanded, " \t");
  if (fields.size() != 5 && fields.size() != 6)
    throw Error(
        Exit::data,
        "cron line '" + printable(line) + "' has " + std::to_string(fields.size()) +
            " fields; it takes 5 (minute hour day-of-month month day-of-week), or 6 with the seconds first");
  if (fields.size() == 5) fields.insert(fields.begin(), "0");

  ClockPattern pattern;
  Field{"second", fields[0], 0, 59, no_names}.fill(pattern.seconds_);
  Field{"minute", fields[1], 0, 59, no_names}.fill(pattern.minutes_);
  Field{"hour", fields[2], 0, 23, no_names}.fill(pattern.hours_);
  Field{"month", fields[4], 1, 12, month_names}.fill(pattern.months_);

  const Field days{"day-of-month", fields[3], 1, 31, no_names};
  for (const auto& item : days.items()) {
    if (item == "l")
      pattern.last_day_ = true;
    else
      for (const int day : days.expand(item)) pattern.days_.set(static_cast<std::size_t>(day));
  }
  const Field weekdays{"day-of-week", fields[5], 0, 7, weekday_names};
  for (const auto& item : weekdays.items()) {
    if (const auto hash = item.find('#'); hash != std::string::npos) {
      const auto day = static_cast<std::size_t>(weekdays.number(std::string_view(item).substr(0, hash)) % 7);
      const auto which = item.substr(hash + 1);
      if (which.size() != 1 || which[0] < '1' || which[0] > '5')
        weekdays.refuse("after # comes which one of the month, 1 to 5");
      pattern.nth_weekdays_[static_cast<std::size_t>(which[0] - '0')].set(day);
    } else if (item.size() > 1 && item.ends_with('l')) {
      pattern.last_weekdays_.set(
          static_cast<std::size_t>(weekdays.number(std::string_view(item).substr(0, item.size() - 1)) % 7));
    } else if (item == "l") {
      weekdays.refuse("L needs a weekday here, such as 5L for the last Friday of the month");
    } else {
      // `*` is 0 to 6: a step must not count Sunday twice.
      const Field upto{weekdays.title, weekdays.text, 0, item.starts_with('*') ? 6 : 7, weekday_names};
      for (const int day : upto.expand(item)) pattern.weekdays_.set(static_cast<std::size_t>(day % 7));
    }
  }
  pattern.any_of_days_ = !fields[3].starts_with('*') && !fields[5].starts_with('*');
  pattern.require_possible("cron line '" + printable(line) + "'");
  return pattern;
}

ClockPattern ClockPattern::calendar(const Calendar& lists) {
  ClockPattern pattern;
  fill(pattern.months_, lists.months, 1, 12, "months");
  fill(pattern.days_, lists.monthdays, 1, 31, "monthdays");
  fill(pattern.hours_, lists.hours, 0, 23, "hours");
  fill(pattern.minutes_, lists.minutes, 0, 59, "minutes");
  fill(pattern.seconds_, lists.seconds.empty() ? std::vector<int>{0} : lists.seconds, 0, 59, "seconds");
  std::bitset<8> days;
  fill(days, lists.weekdays, 0, 7, "weekdays");
  for (std::size_t day = 0; day < 8; ++day)
    if (days.test(day)) pattern.weekdays_.set(day % 7);
  pattern.require_possible("calendar");
  return pattern;
}

void ClockPattern::require_possible(const std::string& what) const {
  if (!first(LocalTime{local_days{year{2000} / 1 / 1}}))
    throw Error(Exit::data, what + " never comes: no such day is in any year");
}

bool ClockPattern::day_matches(year_month_day date, unsigned last_day) const {
  const auto day = static_cast<unsigned>(date.day());
  const auto weekday = std::chrono::weekday{local_days{date}}.c_encoding();
  const bool by_day = days_.test(day) || (last_day_ && day == last_day);
  const bool by_weekday = weekdays_.test(weekday) || (last_weekdays_.test(weekday) && day + 7 > last_day) ||
                          nth_weekdays_[(day + 6) / 7].test(weekday);
  return any_of_days_ ? by_day || by_weekday : by_day && by_weekday;
}

std::optional<LocalTime> ClockPattern::first(LocalTime from) const {
  // A fraction of a second is past the second it belongs to.
  const auto start = ceil<seconds>(from);
  auto day = floor<days>(start);
  hh_mm_ss clock{start - day};
  auto date = year_month_day{day};
  const auto end = date.year() + years{401};
  int hour = static_cast<int>(clock.hours().count());
  int minute = static_cast<int>(clock.minutes().count());
  int second = static_cast<int>(clock.seconds().count());

  while (date.year() < end) {
    if (!months_.test(static_cast<unsigned>(date.month()))) {
      const auto next = year_month{date.year(), date.month()} + std::chrono::months{1};
      date = next / 1;
      hour = minute = second = 0;
      continue;
    }
    const auto last = static_cast<unsigned>((date.year() / date.month() / std::chrono::last).day());
    if (day_matches(date, last)) {
      // The smallest time of the day at or after hour:minute:second.
      auto h = next_bit(hours_, hour);
      if (h > hour) minute = second = 0;
      auto m = h < 24 ? next_bit(minutes_, minute) : 60;
      if (m > minute) second = 0;
      auto s = m < 60 ? next_bit(seconds_, second) : 60;
      if (h < 24 && m < 60 && s == 60) {
        m = next_bit(minutes_, m + 1);
        s = next_bit(seconds_, 0);
      }
      if (h < 24 && m == 60) {
        h = next_bit(hours_, h + 1);
        m = next_bit(minutes_, 0);
        s = next_bit(seconds_, 0);
      }
      if (h < 24) return LocalTime{local_days{date} + hours{h} + minutes{m} + seconds{s}};
    }
    date = year_month_day{local_days{date} + days{1}};
    hour = minute = second = 0;
  }
  return std::nullopt;
}

std::optional<WallTime> next_in(const TimeZone& zone, const ClockPattern& pattern, WallTime after) {
  constexpr Duration instant{1};
  auto stretch = zone.at(after + instant);
  // Zones that change twice a year for ever have thousands of stretches to the year 9999, and a run in each;
  // those that are left after 400 years can be no more than a handful.
  for (auto from = after + instant;;) {
    const auto before = zone.at(stretch.begin - instant).offset;
    const auto here = stretch.offset;
    auto local = LocalTime{from.time_since_epoch() + here};
    if (!pattern.every_hour()) {
      const LocalTime shown_before{stretch.begin.time_since_epoch() + before};
      const LocalTime shown_after{stretch.begin.time_since_epoch() + here};
      if (shown_before < shown_after && from <= stretch.begin) {
        // Skipped times run now, all as one.
        const auto skipped = pattern.first(shown_before);
        if (skipped && *skipped < shown_after) return stretch.begin;
      }
      // What the clocks showed before they were set back has had its run.
      local = std::max(local, shown_before);
    }
    const auto match = pattern.first(local);
    if (!match) return std::nullopt;
    const auto run = WallTime{match->time_since_epoch() - here};
    if (run < stretch.end) return run;
    from = stretch.end;
    // A long way off: go there at once. The run is at least as far as the match seen with any offset, less a
    // day.
    const auto far = run - std::chrono::days{2};
    if (far > from) from = far;
    if (from >= WallTime{sys_days{year{9990} / 1 / 1}}) return std::nullopt;
    stretch = zone.at(from);
  }
}

}  // namespace stem
