#include <doctest/doctest.h>

#include "cli/schedule_view.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

constexpr auto now = WallTime{std::chrono::sys_days{std::chrono::year{2025} / 1 / 2}} + 12h;

BookedSchedule booked(Json object) {
  object.update({{"task", "t"}});
  BookedSchedule schedule{
      .name = object["name"], .entry = schedule_entry_from(object), .run = {}, .error = {}};
  schedule.entry.since = now - 30min;
  schedule.run.begin(schedule.entry);
  return schedule;
}

/// The row of the table, its cells joined by one blank.
std::string row(const BookedSchedule& schedule) {
  const auto text = schedule_table({schedule}, now);
  std::string line;
  for (const char c : text.substr(text.find('\n') + 1))
    if (c != '\n' && !(c == ' ' && line.ends_with(' '))) line += c;
  return line;
}

}  // namespace

TEST_CASE("schedule list: times are in words") {
  CHECK(in_words(now, now) == "now");
  CHECK(in_words(now + 400ms, now) == "now");
  CHECK(in_words(now + 3s, now) == "in 3s");
  CHECK(in_words(now - 90s, now) == "1m 30s ago");
  CHECK(in_words(now + 26h, now) == "in 1d 2h");
  CHECK(in_words(now - 24h * 400, now) == "400d ago");
}

TEST_CASE("schedule list: a row says what runs, when next, when last, and how it stands") {
  auto schedule = booked({{"name", "a"}, {"schedule", "every:40m"}});
  CHECK(row(schedule) == "a t - every 40m in 10m - 0 on");
  schedule.run.last_run = now - 5s;
  schedule.run.runs = 7;
  CHECK(row(schedule) == "a t - every 40m in 10m 5s ago 7 on");
  schedule.entry.enabled = false;
  CHECK(row(schedule) == "a t - every 40m - 5s ago 7 off");
  schedule.run.error = "no";
  CHECK(row(schedule) == "a t - every 40m - 5s ago 7 failing");
  CHECK(row(booked(
            {{"name", "b"}, {"schedule", "0 4 * * *"}, {"timezone", "Europe/Berlin"}, {"queue", "q"}})) ==
        "b t q 0 4 * * * Europe/Berlin in 15h - 0 on");
  CHECK(
      row(booked({{"name", "c"}, {"schedule", {{"kind", "clocked"}, {"runAt", "2024-01-01T00:00:00Z"}}}})) ==
      "c t - once 2024-01-01T00:00:00.000Z - - 0 over");
  auto once = booked({{"name", "d"}, {"schedule", "every:10m"}, {"runOnce", true}});
  once.run.slot = once.run.last_slot = now - 20min;
  once.run.last_run = now - 20min;
  once.run.runs = 1;
  CHECK(row(once) == "d t - every 10m - 20m ago 1 done");
  CHECK(row(booked({{"name", "e"},
                    {"schedule",
                     {{"kind", "solar"}, {"event", "noon"}, {"latitude", 52.5}, {"longitude", 13.4}}}})) ==
        "e t - noon @52.5,13.4 in 23h 11m - 0 on");
  const BookedSchedule bad{.name = "f", .entry = {}, .run = {}, .error = "of version 9"};
  CHECK(row(bad) == "f - - - - - - unreadable");
}

TEST_CASE("schedule list: no text of a schedule reaches the terminal as it is") {
  const auto shown = row(booked({{"name", "a"}, {"schedule", {{"kind", "calendar"}, {"hours", {4}}}}}));
  CHECK(shown.find("calendar {\"hours\":[4]}") != std::string::npos);
  CHECK(shown.find('\x1b') == std::string::npos);
}
