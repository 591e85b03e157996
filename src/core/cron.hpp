#pragma once

#include <array>
#include <bitset>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/time_zone.hpp"

namespace stem {

/// Clock times that recur: seconds, minutes, hours, days and months, as a cron line or a calendar names them.
/// Says nothing of time zones: see next_in().
class ClockPattern {
 public:
  /// Reads a cron line: `minute hour day-of-month month day-of-week`, or six fields with the seconds first,
  /// or
  /// `@hourly @daily @midnight @weekly @monthly @yearly @annually`. A field holds `*`, a number, a range
  /// `a-b`, a step
  /// `*/n`, `a-b/n` or `a/n`, or a list of such; months and weekdays have names, Sunday is 0 or 7. `L` is the
  /// last day of the month, `5L` the month's last Friday, `5#2` its second. Where day of month and day of
  /// week are both restricted (neither starts with `*`), one of them has to match: crontab(5). Throws Error
  /// (exit 65): the field, the text, the rule.
  static ClockPattern cron(std::string_view line);

  /// Lists of a calendar; an empty one means any. All that are given have to match. Throws Error (exit 65).
  struct Calendar {
    std::vector<int> months, monthdays, weekdays, hours, minutes, seconds;  ///< seconds: 0 if empty
  };
  static ClockPattern calendar(const Calendar& lists);

  /// The first match at or after `from`; empty if there is none in 400 years, after which the calendar
  /// repeats.
  std::optional<LocalTime> first(LocalTime from) const;
  /// Whether every hour of a day that matches has a run: such a pattern counts elapsed time, any other names
  /// times of the day.
  bool every_hour() const { return hours_.all(); }

 private:
  bool day_matches(std::chrono::year_month_day date, unsigned last_day) const;
  void require_possible(const std::string& what) const;

  std::bitset<60> seconds_, minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;                          // 1 to 31
  std::bitset<13> months_;                        // 1 to 12
  std::bitset<7> weekdays_;                       // Sunday is 0
  bool last_day_ = false;                         // `L` among the days
  std::bitset<7> last_weekdays_;                  // `5L`
  std::array<std::bitset<7>, 6> nth_weekdays_{};  // `5#2`: [2], weekday 5
  bool any_of_days_ = false;                      // day of month or day of week, where both are restricted
};

/// The first instant after `after` at which the clocks of `zone` show a match.
///
/// Where clocks are set forward, times of the day that are skipped run once, at the first instant after the
/// gap; where they are set back, a time that comes twice runs the first time only. A pattern for every hour
/// of the day is left alone: it runs by elapsed time, in both of the doubled hours and not in the skipped
/// one. cron(8) of Debian does likewise, but leaves alone what has a `*` as minute or hour, of which `*/10 2
/// * * *` is one. Empty if there is no match before the year 9999.
std::optional<WallTime> next_in(const TimeZone& zone, const ClockPattern& pattern, WallTime after);

}  // namespace stem
