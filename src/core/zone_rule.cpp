#include "core/zone_rule.hpp"

#include <algorithm>
#include <array>
#include <stem/error.hpp>
#include <string>

#include "core/name.hpp"

namespace stem {

using namespace std::chrono;

namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace

class ZoneRule::Reader {
 public:
  explicit Reader(std::string_view text) : whole_(text), rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  bool sees(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool takes(char c) {
    if (!sees(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void need(char c) {
    if (!takes(c)) refuse();
  }
  [[noreturn]] void refuse() const {
    throw Error(Exit::data, "'" + printable(whole_) + "' is not a rule for a time zone");
  }

  void name() {
    const bool quoted = takes('<');
    std::size_t length = 0;
    while (length < rest_.size() && (quoted ? rest_[length] != '>' : is_letter(rest_[length]))) ++length;
    if (length < 3) refuse();
    rest_.remove_prefix(length);
    if (quoted) need('>');
  }
  int number(int low, int high) {
    int value = 0;
    std::size_t digits = 0;
    for (; digits < rest_.size() && is_digit(rest_[digits]) && value <= high; ++digits)
      value = value * 10 + (rest_[digits] - '0');
    if (digits == 0 || value < low || value > high) refuse();
    rest_.remove_prefix(digits);
    return value;
  }
  /// `[+-]hours[:minutes[:seconds]]`
  seconds time(int most_hours) {
    const bool minus = takes('-');
    if (!minus) takes('+');
    seconds sum = hours{number(0, most_hours)};
    if (takes(':')) sum += minutes{number(0, 59)};
    if (takes(':')) sum += seconds{number(0, 59)};
    return minus ? -sum : sum;
  }
  Date date() {
    Date date;
    if (takes('M')) {
      date.month = static_cast<unsigned>(number(1, 12));
      need('.');
      date.week = static_cast<unsigned>(number(1, 5));
      need('.');
      date.day = number(0, 6);
    } else {
      date.form = takes('J') ? Date::Form::julian : Date::Form::zero_based;
      date.day = date.form == Date::Form::julian ? number(1, 365) : number(0, 365);
    }
    if (takes('/')) date.time = time(167);
    return date;
  }

 private:
  const std::string_view whole_;
  std::string_view rest_;
};

ZoneRule ZoneRule::parse(std::string_view text) {
  Reader reader(text);
  ZoneRule rule;
  reader.name();
  rule.standard_ = -reader.time(24);  // written as what is added to local time
  if (reader.at_end()) return rule;
  reader.name();
  rule.summer_ = reader.sees(',') ? rule.standard_ + hours{1} : -reader.time(24);
  reader.need(',');
  Changes changes;
  changes.to_summer = reader.date();
  reader.need(',');
  changes.to_standard = reader.date();
  if (!reader.at_end()) reader.refuse();
  rule.changes_ = changes;
  return rule;
}

sys_seconds ZoneRule::Date::in(year year) const {
  const sys_days first{year / 1 / 1};
  switch (form) {
    case Form::julian:  // knows no 29 February
      return first + days{day - 1 + (year.is_leap() && day >= 60 ? 1 : 0)} + time;
    case Form::zero_based:
      return first + days{day} + time;
    default: {
      const std::chrono::weekday weekday{static_cast<unsigned>(day)};
      const auto in_month = year / std::chrono::month{month};
      return (week == 5 ? sys_days{in_month / weekday[last]} : sys_days{in_month / weekday[week]}) + time;
    }
  }
}

ZoneStretch ZoneRule::at(WallTime time) const {
  if (!changes_) return {WallTime::min(), WallTime::max(), standard_};
  struct Change {
    sys_seconds at;
    seconds offset;
  };
  std::array<Change, 6> all;
  const year_month_day date{floor<days>(time)};
  std::size_t count = 0;
  for (auto year = date.year() - years{1}; year <= date.year() + years{1}; ++year) {
    all[count++] = {changes_->to_summer.in(year)-standard_, summer_};
    all[count++] = {changes_->to_standard.in(year)-summer_, standard_};
  }
  // Of two at one instant the later year's counts: so some zones say that it is always summer.
  std::stable_sort(all.begin(), all.end(), [](const Change& a, const Change& b) { return a.at < b.at; });
  const auto next = std::upper_bound(all.begin(), all.end(), time,
                                     [](WallTime t, const Change& change) { return t < change.at; });
  return {std::prev(next)->at, next->at, std::prev(next)->offset};
}

}  // namespace stem
