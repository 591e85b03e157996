#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "core/cron.hpp"
#include "core/zone_file.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// The next `count` runs of a cron line after `from`, in UTC: `2025-01-02T03:04:05.000Z`, cut to the second.
std::vector<std::string> runs(const std::string& line, const std::string& from, std::size_t count,
                              const std::string& zone = "UTC") {
  const auto pattern = ClockPattern::cron(line);
  const auto place = TimeZone::named(zone);
  std::vector<std::string> times;
  auto after = parse_time(from);
  while (times.size() < count) {
    const auto next = next_in(place, pattern, after);
    if (!next) break;
    REQUIRE(*next > after);
    times.push_back(format_time(*next).substr(0, 19));
    after = *next;
  }
  return times;
}

using Times = std::vector<std::string>;

Failed refused(const std::string& line) {
  return error_of([&] { ClockPattern::cron(line); });
}

}  // namespace

// The examples of crontab(5) as Paul Vixie wrote it.
TEST_CASE("cron: the examples of crontab(5)") {
  // "run five minutes after midnight, every day"
  CHECK(runs("5 0 * * *", "2025-03-01T00:05:00Z", 2) == Times{"2025-03-02T00:05:00", "2025-03-03T00:05:00"});
  // "run at 2:15pm on the first of every month"
  CHECK(runs("15 14 1 * *", "2025-01-31T00:00:00Z", 2) ==
        Times{"2025-02-01T14:15:00", "2025-03-01T14:15:00"});
  // "run at 10 pm on weekdays"
  CHECK(runs("0 22 * * 1-5", "2025-01-02T22:00:00Z", 3) ==
        Times{"2025-01-03T22:00:00", "2025-01-06T22:00:00", "2025-01-07T22:00:00"});
  // "run 23 minutes after midn, 2am, 4am ..., everyday"
  CHECK(runs("23 0-23/2 * * *", "2025-01-02T21:00:00Z", 3) ==
        Times{"2025-01-02T22:23:00", "2025-01-03T00:23:00", "2025-01-03T02:23:00"});
  // "run at 5 after 4 every sunday"
  CHECK(runs("5 4 * * sun", "2025-01-02T00:00:00Z", 2) ==
        Times{"2025-01-05T04:05:00", "2025-01-12T04:05:00"});
  // "would cause a command to be run at 4:30 am on the 1st and 15th of each month, plus every Friday"
  CHECK(runs("30 4 1,15 * 5", "2025-01-01T00:00:00Z", 5) ==
        Times{"2025-01-01T04:30:00", "2025-01-03T04:30:00", "2025-01-10T04:30:00", "2025-01-15T04:30:00",
              "2025-01-17T04:30:00"});
  // "0-23/2 can be used in the hours field to specify command execution every other hour"; "*/2" is the same
  CHECK(runs("0 */2 * * *", "2025-01-02T00:00:00Z", 4) == runs("0 0-23/2 * * *", "2025-01-02T00:00:00Z", 4));
}

TEST_CASE("cron: the shortcuts mean what crontab(5) says") {
  const auto same = [](const char* shortcut, const char* line) {
    CHECK(runs(shortcut, "2024-12-30T05:00:00Z", 3) == runs(line, "2024-12-30T05:00:00Z", 3));
  };
  same("@yearly", "0 0 1 1 *");
  same("@annually", "0 0 1 1 *");
  same("@monthly", "0 0 1 * *");
  same("@weekly", "0 0 * * 0");
  same("@daily", "0 0 * * *");
  same("@midnight", "0 0 * * *");
  same("@hourly", "0 * * * *");
  CHECK(refused("@reboot").says("a scheduler has no @reboot"));
}

TEST_CASE(
    "cron: day of month and day of week: one of them where both are restricted, both where one starts with a "
    "star") {
  CHECK(runs("0 0 13 * 5", "2025-06-01T00:00:00Z", 3) ==
        Times{"2025-06-06T00:00:00", "2025-06-13T00:00:00", "2025-06-20T00:00:00"});
  CHECK(runs("0 0 * * 5", "2025-06-01T00:00:00Z", 1) == Times{"2025-06-06T00:00:00"});
  CHECK(runs("0 0 13 * *", "2025-06-01T00:00:00Z", 1) == Times{"2025-06-13T00:00:00"});
  // Odd days that are Fridays.
  CHECK(runs("0 0 */2 * 5", "2025-06-01T00:00:00Z", 2) ==
        Times{"2025-06-13T00:00:00", "2025-06-27T00:00:00"});
}

TEST_CASE("cron: names, lists, ranges, steps, Sunday as 0 and 7") {
  CHECK(runs("0 12 * JAN,Mar mon-Wed", "2025-01-27T12:00:00Z", 4) ==
        Times{"2025-01-28T12:00:00", "2025-01-29T12:00:00", "2025-03-03T12:00:00", "2025-03-04T12:00:00"});
  CHECK(runs("0 0 * * 7", "2025-01-01T00:00:00Z", 1) == Times{"2025-01-05T00:00:00"});
  CHECK(runs("0 0 * * 0", "2025-01-01T00:00:00Z", 1) == Times{"2025-01-05T00:00:00"});
  CHECK(runs("0 0 * * 5-7", "2025-01-01T00:00:00Z", 3) ==
        Times{"2025-01-03T00:00:00", "2025-01-04T00:00:00", "2025-01-05T00:00:00"});
  CHECK(runs("0 0 * * */2", "2025-01-04T12:00:00Z", 5) == Times{"2025-01-05T00:00:00", "2025-01-07T00:00:00",
                                                                "2025-01-09T00:00:00", "2025-01-11T00:00:00",
                                                                "2025-01-12T00:00:00"});
  CHECK(runs("5/20 * * * *", "2025-01-01T00:30:00Z", 3) ==
        Times{"2025-01-01T00:45:00", "2025-01-01T01:05:00", "2025-01-01T01:25:00"});
  CHECK(runs("1,2,50-55/5 0 * * *", "2025-01-01T00:00:00Z", 4) ==
        Times{"2025-01-01T00:01:00", "2025-01-01T00:02:00", "2025-01-01T00:50:00", "2025-01-01T00:55:00"});
}

TEST_CASE("cron: six fields begin with the seconds") {
  CHECK(runs("*/20 * * * * *", "2025-01-01T00:00:30Z", 3) ==
        Times{"2025-01-01T00:00:40", "2025-01-01T00:01:00", "2025-01-01T00:01:20"});
  CHECK(runs("30 59 23 31 12 *", "2025-01-01T00:00:00Z", 2) ==
        Times{"2025-12-31T23:59:30", "2026-12-31T23:59:30"});
}

TEST_CASE("cron: L is the last day of the month, 5L its last Friday, 5#2 its second") {
  CHECK(runs("0 0 L * *", "2024-01-31T00:00:00Z", 3) ==
        Times{"2024-02-29T00:00:00", "2024-03-31T00:00:00", "2024-04-30T00:00:00"});
  CHECK(runs("0 0 L 2 *", "2025-01-01T00:00:00Z", 1) == Times{"2025-02-28T00:00:00"});
  CHECK(runs("0 0 15,L * *", "2025-02-01T00:00:00Z", 2) ==
        Times{"2025-02-15T00:00:00", "2025-02-28T00:00:00"});
  CHECK(runs("0 0 * * 5L", "2025-01-01T00:00:00Z", 3) ==
        Times{"2025-01-31T00:00:00", "2025-02-28T00:00:00", "2025-03-28T00:00:00"});
  CHECK(runs("0 0 * * fri#2", "2025-01-01T00:00:00Z", 2) ==
        Times{"2025-01-10T00:00:00", "2025-02-14T00:00:00"});
  CHECK(runs("0 0 * * 1#5", "2025-01-01T00:00:00Z", 2) ==
        Times{"2025-03-31T00:00:00", "2025-06-30T00:00:00"});
}

TEST_CASE("cron: the 29th of February waits for a leap year, also over 2100") {
  CHECK(runs("0 0 29 2 *", "2025-01-01T00:00:00Z", 1) == Times{"2028-02-29T00:00:00"});
  CHECK(runs("0 0 29 2 *", "2096-03-01T00:00:00Z", 1) == Times{"2104-02-29T00:00:00"});
}

TEST_CASE("cron: a fraction of a second belongs to the second that has begun") {
  CHECK(runs("0 0 * * *", "2025-01-01T23:59:59.999999Z", 1) == Times{"2025-01-02T00:00:00"});
  CHECK(runs("0 0 * * *", "2025-01-01T00:00:00.000001Z", 1) == Times{"2025-01-02T00:00:00"});
}

TEST_CASE("cron: what cannot be read is refused with the field and the rule") {
  CHECK(refused("* * * *").says("has 4 fields"));
  CHECK(refused("").says("has 0 fields"));
  CHECK(refused("1 2 3 4 5 6 7").says("has 7 fields"));
  CHECK(refused("60 * * * *").says("cron field minute '60': 60 is out of range; it must be 0 to 59"));
  CHECK(refused("* 24 * * *").says("cron field hour"));
  CHECK(refused("* * 0 * *").says("it must be 1 to 31"));
  CHECK(refused("* * * 13 *").says("cron field month"));
  CHECK(refused("* * * * 8").says("it must be 0 to 7"));
  CHECK(refused("*/0 * * * *").says("a step must be a whole number from 1 to 60"));
  CHECK(refused("0 0 */2147483647 * *").says("a step must be a whole number from 1 to 31"));
  CHECK(refused("*/-5 * * * *").says("a step must be a whole number from 1 to 60"));
  CHECK(refused("5-1 * * * *").says("runs backwards; write it as two, such as 5-59,0-1"));
  CHECK(refused("1,,2 * * * *").says("a value is missing between commas"));
  CHECK(refused("1- * * * *").says("a number is missing"));
  CHECK(refused("a * * * *").says("'a' is not a number"));
  CHECK(refused("* * * foo *").says("or a name of three letters"));
  CHECK(refused("* * * * L").says("5L for the last Friday"));
  CHECK(refused("* * * * 5#6").says("1 to 5"));
  CHECK(refused("L * * * *").says("'l' is not a number"));
  CHECK(refused("0 0 31 2 *").says("never comes"));
  CHECK(refused("0 0 30,31 2 *").says("never comes"));
  CHECK(refused("99999999999999999999 * * * *").status == 65);
  CHECK(refused("* * * \x1b[31m *").is_one_line());
}

TEST_CASE("calendar: all lists that are given have to match, empty ones match anything") {
  const auto next = [](const ClockPattern::Calendar& lists, const std::string& from) {
    return format_time(*next_in(TimeZone(), ClockPattern::calendar(lists), parse_time(from))).substr(0, 19);
  };
  // Friday the 13th.
  CHECK(next({.months = {}, .monthdays = {13}, .weekdays = {5}, .hours = {0}, .minutes = {0}, .seconds = {}},
             "2025-01-01T00:00:00Z") == "2025-06-13T00:00:00");
  CHECK(
      next({.months = {}, .monthdays = {}, .weekdays = {7}, .hours = {8, 20}, .minutes = {30}, .seconds = {}},
           "2025-01-05T08:30:00Z") == "2025-01-05T20:30:00");
  CHECK(next({.months = {}, .monthdays = {}, .weekdays = {}, .hours = {}, .minutes = {}, .seconds = {15}},
             "2025-01-05T08:30:15Z") == "2025-01-05T08:31:15");
  CHECK(error_of([] {
          ClockPattern::calendar({{13}, {}, {}, {}, {}, {}});
        }).says("months: 13 is out of range"));
  CHECK(error_of([] { ClockPattern::calendar({{2}, {30}, {}, {}, {}, {}}); }).says("never comes"));
}

TEST_CASE("time zone: its clocks are followed over the year") {
  CHECK(runs("0 9 * * *", "2025-01-15T12:00:00Z", 1, "Europe/Berlin") == Times{"2025-01-16T08:00:00"});
  CHECK(runs("0 9 * * *", "2025-07-15T12:00:00Z", 1, "Europe/Berlin") == Times{"2025-07-16T07:00:00"});
  CHECK(runs("0 9 * * *", "2025-07-15T00:00:00Z", 1, "Asia/Kolkata") == Times{"2025-07-15T03:30:00"});
}

TEST_CASE("time zone: a time of the day that is skipped runs once, right after the gap") {
  // Berlin, 2025-03-30: 02:00 becomes 03:00, at 01:00 UTC.
  CHECK(runs("30 2 * * *", "2025-03-29T00:00:00Z", 3, "Europe/Berlin") ==
        Times{"2025-03-29T01:30:00", "2025-03-30T01:00:00", "2025-03-31T00:30:00"});
  // Many skipped times are one run, and 03:00 itself is not a second one.
  CHECK(runs("*/10 2,3 * * *", "2025-03-30T00:00:00Z", 3, "Europe/Berlin") ==
        Times{"2025-03-30T01:00:00", "2025-03-30T01:10:00", "2025-03-30T01:20:00"});
  CHECK(runs("0 */2 * * *", "2025-03-29T23:00:00Z", 3, "Europe/Berlin") ==
        Times{"2025-03-30T01:00:00", "2025-03-30T02:00:00", "2025-03-30T04:00:00"});
  // Not skipped: nothing runs at the gap.
  CHECK(runs("0 4 * * *", "2025-03-30T00:00:00Z", 1, "Europe/Berlin") == Times{"2025-03-30T02:00:00"});
}

TEST_CASE("time zone: a time of the day that comes twice runs the first time only") {
  // Berlin, 2025-10-26: 03:00 becomes 02:00, at 01:00 UTC.
  CHECK(runs("30 2 * * *", "2025-10-25T12:00:00Z", 2, "Europe/Berlin") ==
        Times{"2025-10-26T00:30:00", "2025-10-27T01:30:00"});
  // Asked in the middle of the second 02:xx.
  CHECK(runs("30 2 * * *", "2025-10-26T01:10:00Z", 1, "Europe/Berlin") == Times{"2025-10-27T01:30:00"});
  CHECK(runs("0 3 * * *", "2025-10-26T00:00:00Z", 1, "Europe/Berlin") == Times{"2025-10-26T02:00:00"});
}

TEST_CASE("time zone: what runs in every hour goes by elapsed time, over both changes") {
  CHECK(runs("30 * * * *", "2025-10-25T23:00:00Z", 4, "Europe/Berlin") ==
        Times{"2025-10-25T23:30:00", "2025-10-26T00:30:00", "2025-10-26T01:30:00", "2025-10-26T02:30:00"});
  CHECK(runs("30 * * * *", "2025-03-30T00:00:00Z", 3, "Europe/Berlin") ==
        Times{"2025-03-30T00:30:00", "2025-03-30T01:30:00", "2025-03-30T02:30:00"});
}

TEST_CASE("time zone: half an hour of summer time, and a day that never was") {
  // Lord Howe, 2025-04-06: 02:00 becomes 01:30, at 15:00 UTC the day before. 01:45 comes twice.
  CHECK(runs("45 1 * * *", "2025-04-05T12:00:00Z", 2, "Australia/Lord_Howe") ==
        Times{"2025-04-05T14:45:00", "2025-04-06T15:15:00"});
  // Samoa left out 2011-12-30; its noon runs as the 31st begins.
  CHECK(runs("0 12 * * *", "2011-12-29T22:00:00Z", 2, "Pacific/Apia") ==
        Times{"2011-12-30T10:00:00", "2011-12-30T22:00:00"});
}

TEST_CASE("time zone: changes that its file does not list follow the rule at its end, for ever") {
  CHECK(runs("0 9 * * *", "2040-07-15T12:00:00Z", 1, "Europe/Berlin") == Times{"2040-07-16T07:00:00"});
  CHECK(runs("0 9 * * *", "2040-01-15T12:00:00Z", 1, "Europe/Berlin") == Times{"2040-01-16T08:00:00"});
  CHECK(runs("0 9 * * *", "2040-01-15T12:00:00Z", 1, "Australia/Sydney") == Times{"2040-01-15T22:00:00"});
  // 2045-03-26, 02:00 becomes 03:00.
  CHECK(runs("30 2 * * *", "2045-03-25T00:00:00Z", 3, "Europe/Berlin") ==
        Times{"2045-03-25T01:30:00", "2045-03-26T01:00:00", "2045-03-27T00:30:00"});
  CHECK(runs("30 2 * * *", "2045-10-28T12:00:00Z", 2, "Europe/Berlin") ==
        Times{"2045-10-29T00:30:00", "2045-10-30T01:30:00"});
  // No summer time since 2016.
  CHECK(runs("0 9 * * *", "2300-07-15T00:00:00Z", 1, "Europe/Istanbul") == Times{"2300-07-15T06:00:00"});
  // A day that comes once in 400 years with that weekday: far away is found at once.
  CHECK(runs("0 0 29 2 *", "8896-03-01T00:00:00Z", 1, "Europe/Berlin") == Times{"8904-02-28T23:00:00"});
}

TEST_CASE("zone rule: names, offsets, dates and hours as POSIX and RFC 9636 write them") {
  const auto offset = [](const char* rule, const char* time) {
    return ZoneRule::parse(rule).at(parse_time(time)).offset;
  };
  const auto begin = [](const char* rule, const char* time) {
    return format_time(ZoneRule::parse(rule).at(parse_time(time)).begin);
  };
  CHECK(offset("<+0330>-3:30", "2040-01-01T00:00:00Z") == 3h + 30min);
  CHECK(offset("EST5EDT,M3.2.0,M11.1.0", "2040-07-01T00:00:00Z") == -4h);
  CHECK(begin("EST5EDT,M3.2.0,M11.1.0", "2040-07-01T00:00:00Z") == "2040-03-11T07:00:00.000Z");
  CHECK(begin("EST5EDT,M3.2.0,M11.1.0", "2040-01-01T00:00:00Z") == "2039-11-06T06:00:00.000Z");
  // The South's summer is over the new year; half an hour of it; Ireland's winter is what is moved.
  CHECK(offset("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2040-12-31T20:00:00Z") == 11h);
  CHECK(offset("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2041-06-01T00:00:00Z") == 10h + 30min);
  CHECK(offset("IST-1GMT0,M10.5.0,M3.5.0/1", "2040-12-31T00:00:00Z") == 0h);
  CHECK(offset("IST-1GMT0,M10.5.0,M3.5.0/1", "2040-07-01T00:00:00Z") == 1h);
  // Hours before and after the day.
  CHECK(begin("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2040-07-01T00:00:00Z") == "2040-03-25T01:00:00.000Z");
  CHECK(begin("EET-2EEST,M4.5.5/0,M10.5.4/24", "2040-12-01T00:00:00Z") == "2040-10-25T21:00:00.000Z");
  // Days of the year, without and with 29 February; always summer.
  CHECK(begin("A"
              "AA0BBB,J60/0,J300",
              "2040-07-01T00:00:00Z") == "2040-03-01T00:00:00.000Z");
  CHECK(begin("AAA0BBB,59/0,300", "2040-07-01T00:00:00Z") == "2040-02-29T00:00:00.000Z");
  for (const char* time : {"2040-01-01T00:00:00Z", "2040-12-31T23:59:59Z", "2041-01-01T05:00:00Z"})
    CHECK(offset("XXX3EDT4,0/0,J365/23", time) == -4h);
  for (const char* bad : {"", "AB1", "CET", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0",
                          "CET-1CEST,M3.6.0,M10.5.0", "CET-1CEST,M3.5.7,M10.5.0", "CET-1CEST,J0,M10.5.0",
                          "CET-1CEST,M3.5.0,M10.5.0/168", "CET-1CEST,M3.5.0,M10.5.0x", "<CET-1", "CET-25",
                          "CET-1:60", "CET-99999999999999999999"}) {
    CAPTURE(bad);
    CHECK(error_of([&] { ZoneRule::parse(bad); }).status == 65);
  }
}

TEST_CASE(
    "zone file: one that is cut off anywhere, or changed anywhere, is refused or read, and nothing worse") {
  std::ifstream file("/usr/share/zoneinfo/Europe/Berlin", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  REQUIRE(ZoneFile::parse(bytes).at(parse_time("2040-07-01T00:00:00Z")).offset == 2h);
  for (std::size_t length = 0; length < bytes.size() - 1; ++length)
    CHECK(error_of([&] { ZoneFile::parse(bytes.substr(0, length)); }).status == 65);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto changed = bytes;
    changed[i] = static_cast<char>(~changed[i]);
    try {
      (void)ZoneFile::parse(changed).at(parse_time("2040-07-01T00:00:00Z"));
    } catch (const Error& error) {
      CHECK(static_cast<int>(error.code()) == 65);
    }
  }
}

TEST_CASE("time zone: an unknown one is refused with the nearest name") {
  const auto failed = error_of([] { TimeZone::named("Europe/Berlim"); });
  CHECK(failed.status == 65);
  CHECK(failed.says("'Europe/Berlim' is not a time zone; did you mean Europe/Berlin?"));
  CHECK(error_of([] { TimeZone::named("../../etc/passwd"); }).status == 65);
  CHECK(error_of([] { TimeZone::named("/etc/passwd"); }).status == 65);
  CHECK(error_of([] { TimeZone::named("Europe"); }).status == 65);
  CHECK(error_of([] { TimeZone::named("tzdata.zi"); }).status == 65);
  CHECK(TimeZone::named("Etc/UTC").name() == "UTC");
}

TEST_CASE("time zone: every run of a year is found, in order, whatever instant the search begins at") {
  const auto berlin = TimeZone::named("Europe/Berlin");
  for (const char* line : {"15 2 * * *", "*/15 2 * * *", "0 */3 * * *", "7 * * * *", "0 0 L * *"}) {
    CAPTURE(line);
    const auto pattern = ClockPattern::cron(line);
    std::vector<WallTime> all;
    const auto end = parse_time("2026-01-01T00:00:00Z");
    for (auto next = next_in(berlin, pattern, parse_time("2025-01-01T00:00:00Z")); *next < end;
         next = next_in(berlin, pattern, *next))
      all.push_back(*next);
    std::size_t at = 0;
    for (auto from = parse_time("2025-01-01T00:00:00Z"); from < all.back(); from += 17min) {
      while (all[at] <= from) ++at;
      REQUIRE(*next_in(berlin, pattern, from) == all[at]);
    }
  }
}
