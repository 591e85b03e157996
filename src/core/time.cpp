#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <stem/error.hpp>
#include <stem/time.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

using namespace std::chrono;

struct Unit {
  std::string_view name;
  Duration length;
};
// Longest first, as format_duration takes them.
constexpr std::array units{Unit{"d", days{1}},    Unit{"h", hours{1}},         Unit{"m", minutes{1}},
                           Unit{"s", seconds{1}}, Unit{"ms", milliseconds{1}}, Unit{"us", microseconds{1}}};

[[noreturn]] void bad_duration(std::string_view text, const char* why) {
  throw Error(Exit::usage, "'" + printable(text) + "' is not a duration: " + why +
                               "; write a number and a unit, such as 250ms, 5s, 2m, 1h or 1m30s");
}

[[noreturn]] void bad_time(std::string_view text) {
  throw Error(Exit::data,
              "'" + printable(text) + "' is not a time; write ISO 8601, such as 2025-01-02T03:04:05Z");
}

/// Takes exactly `digits` digits off the front of `rest`.
int take_number(std::string_view& rest, std::size_t digits, std::string_view whole) {
  int value = 0;
  if (rest.size() < digits) bad_time(whole);
  for (std::size_t i = 0; i < digits; ++i) {
    if (rest[i] < '0' || rest[i] > '9') bad_time(whole);
    value = value * 10 + (rest[i] - '0');
  }
  rest.remove_prefix(digits);
  return value;
}

bool take(std::string_view& rest, std::string_view any_of) {
  if (rest.empty() || any_of.find(rest.front()) == std::string_view::npos) return false;
  rest.remove_prefix(1);
  return true;
}

/// The fraction of a second after the point, any number of digits, cut to microseconds.
Duration take_fraction(std::string_view& rest, std::string_view whole) {
  std::int64_t micros = 0;
  int digits = 0;
  while (!rest.empty() && std::isdigit(static_cast<unsigned char>(rest.front()))) {
    if (digits < 6) micros = micros * 10 + (rest.front() - '0');
    ++digits;
    rest.remove_prefix(1);
  }
  if (digits == 0) bad_time(whole);
  for (; digits < 6; ++digits) micros *= 10;
  return Duration{micros};
}

}  // namespace

WallTime Clock::wall() const {
  return time_point_cast<Duration>(system_clock::now());
}
SteadyTime Clock::steady() const {
  return steady_clock::now();
}

const Clock& Clock::system() {
  static const Clock clock;
  return clock;
}

Duration parse_duration(std::string_view text) {
  if (text == "0") return Duration::zero();
  if (text.empty()) bad_duration(text, "it is empty");
  Duration sum{};
  for (std::string_view rest = text; !rest.empty();) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error == std::errc::result_out_of_range) bad_duration(text, "it is over 100 years");
    if (error != std::errc{} || number < 0) bad_duration(text, "a number is missing");
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const auto letters = std::min(rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), rest.size());
    const auto name = rest.substr(0, letters);
    if (name.empty()) bad_duration(text, "a unit is missing");
    const Unit* unit = nullptr;
    for (const auto& known : units) unit = known.name == name ? &known : unit;
    if (!unit) bad_duration(text, "the unit is unknown");
    const auto left = days{36500} - sum;
    if (number > left / unit->length) bad_duration(text, "it is over 100 years");
    sum += number * unit->length;
    rest.remove_prefix(letters);
  }
  return sum;
}

std::string format_duration(Duration length) {
  if (length == Duration::zero()) return "0s";
  std::string text = length < Duration::zero() ? "-" : "";
  auto rest = length < Duration::zero() ? -length : length;
  for (const auto& unit : units) {
    if (const auto number = rest / unit.length) {
      text += std::to_string(number) + std::string(unit.name);
      rest -= number * unit.length;
    }
  }
  return text;
}

std::string format_time(WallTime time) {
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{time - day};
  const auto micros = clock.subseconds().count();
  std::string text;
  text.reserve(32);
  const auto put = [&](std::int64_t number, std::int64_t highest_place, char after) {
    for (auto place = highest_place; place > 0; place /= 10)
      text += static_cast<char>('0' + number / place % 10);
    if (after) text += after;
  };
  const int year = static_cast<int>(date.year());
  if (year < 0) text += '-';
  put(std::abs(year), std::abs(year) > 9999 ? 10000 : 1000, '-');
  put(static_cast<unsigned>(date.month()), 10, '-');
  put(static_cast<unsigned>(date.day()), 10, 'T');
  put(clock.hours().count(), 10, ':');
  put(clock.minutes().count(), 10, ':');
  put(clock.seconds().count(), 10, '.');
  put(micros / 1000, 100, 0);
  if (micros % 1000) put(micros % 1000, 100, 0);
  return text += 'Z';
}

WallTime parse_time(std::string_view text) {
  auto rest = text;
  const int y = take_number(rest, 4, text);
  if (!take(rest, "-")) bad_time(text);
  const int m = take_number(rest, 2, text);
  if (!take(rest, "-")) bad_time(text);
  const int d = take_number(rest, 2, text);
  const year_month_day date{year{y}, month{static_cast<unsigned>(m)}, day{static_cast<unsigned>(d)}};
  if (!date.ok()) bad_time(text);
  WallTime time = sys_days{date};
  if (rest.empty()) return time;
  if (!take(rest, "Tt ")) bad_time(text);
  const int hour = take_number(rest, 2, text);
  if (!take(rest, ":")) bad_time(text);
  const int minute = take_number(rest, 2, text);
  int second = 0;
  Duration fraction{};
  if (take(rest, ":")) {
    second = take_number(rest, 2, text);
    if (take(rest, ".,")) fraction = take_fraction(rest, text);
  }
  if (hour > 23 || minute > 59 || second > 60) bad_time(text);
  time += hours{hour} + minutes{minute} + seconds{second} + fraction;
  if (take(rest, "Zz") || rest.empty()) {
    if (!rest.empty()) bad_time(text);
    return time;
  }
  const bool west = rest.front() == '-';
  if (!take(rest, "+-")) bad_time(text);
  const int offset_hours = take_number(rest, 2, text);
  const bool colon = take(rest, ":");
  const int offset_minutes = rest.empty() && !colon ? 0 : take_number(rest, 2, text);
  if (!rest.empty() || offset_hours > 23 || offset_minutes > 59) bad_time(text);
  const auto offset = hours{offset_hours} + minutes{offset_minutes};
  return west ? time + offset : time - offset;
}

}  // namespace stem
