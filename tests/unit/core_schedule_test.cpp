#include <doctest/doctest.h>

#include <set>

#include "core/schedule_entry.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

WallTime at(const std::string& time) {
  return parse_time(time);
}
std::string shown(const std::optional<WallTime>& time) {
  return time ? format_time(*time) : "never";
}

ScheduleEntry entry(Json schedule, Json more = Json::object()) {
  Json object{{"name", "e"}, {"task", "t"}, {"schedule", std::move(schedule)}};
  object.update(more);
  auto entry = schedule_entry_from(object);
  entry.since = at("2025-01-01T00:00:00Z");
  return entry;
}

Failed refused(const Json& spec) {
  return error_of([&] { Schedule::parse(spec); });
}

}  // namespace

TEST_CASE("schedule: an interval counts from when it came into force, and does not drift with its runs") {
  const auto e = entry("every:10m");
  CHECK(shown(e.next_slot(e.since)) == "2025-01-01T00:10:00.000Z");
  CHECK(shown(e.next_slot(at("2025-01-01T00:10:00Z"))) == "2025-01-01T00:20:00.000Z");
  CHECK(shown(e.next_slot(at("2025-01-01T00:19:59.999999Z"))) == "2025-01-01T00:20:00.000Z");
  CHECK(shown(e.next_slot(at("2026-07-01T00:00:01Z"))) == "2026-07-01T00:10:00.000Z");
  // What was before it came into force does not count.
  CHECK(shown(e.next_slot(at("2020-01-01T00:00:00Z"))) == "2025-01-01T00:10:00.000Z");
}

TEST_CASE("schedule: an interval with a start runs at the start; none runs at the end or after it") {
  const auto e = entry({{"kind", "interval"},
                        {"everyMs", 60000},
                        {"startAt", "2025-02-01T00:00:30Z"},
                        {"end_at", "2025-02-01T00:02:30Z"}});
  CHECK(shown(e.next_slot(e.since)) == "2025-02-01T00:00:30.000Z");
  CHECK(shown(e.next_slot(at("2025-02-01T00:00:30Z"))) == "2025-02-01T00:01:30.000Z");
  CHECK(shown(e.next_slot(at("2025-02-01T00:01:30Z"))) == "never");
}

TEST_CASE("schedule: cron, calendar, solar and clocked have their next slots") {
  CHECK(shown(entry("0 4 * * *").next_slot(at("2025-01-01T04:00:00Z"))) == "2025-01-02T04:00:00.000Z");
  CHECK(shown(entry({{"kind", "cron"}, {"expression", "0 4 * * *"}, {"secondField", "30"}})
                  .next_slot(at("2025-01-01T00:00:00Z"))) == "2025-01-01T04:00:30.000Z");
  CHECK(shown(entry("0 4 * * *", {{"timezone", "America/New_York"}}).next_slot(at("2025-01-01T04:00:00Z"))) ==
        "2025-01-01T09:00:00.000Z");
  CHECK(shown(entry({{"kind", "calendar"}, {"weekdays", {1}}, {"hours", 7}, {"minutes", {0}}})
                  .next_slot(at("2025-01-01T00:00:00Z"))) == "2025-01-06T07:00:00.000Z");
  const auto once = entry({{"kind", "clocked"}, {"runAt", "2025-03-01T12:00:00+01:00"}});
  CHECK(shown(once.next_slot(once.since)) == "2025-03-01T11:00:00.000Z");
  CHECK(shown(once.next_slot(at("2025-03-01T11:00:00Z"))) == "never");
}

TEST_CASE("schedule: a solar event is moved by its offset, and does not come back before the event itself") {
  const auto plain =
      entry({{"kind", "solar"}, {"event", "sunrise"}, {"latitude", 52.5}, {"longitude", 13.4}});
  const auto early = entry(
      {{"kind", "solar"}, {"event", "sunrise"}, {"latitude", 52.5}, {"longitude", 13.4}, {"offset", "-30m"}});
  const auto sunrise = *plain.next_slot(at("2025-05-01T00:00:00Z"));
  const auto slot = *early.next_slot(at("2025-05-01T00:00:00Z"));
  CHECK(slot == sunrise - 30min);
  CHECK(*early.next_slot(slot) > slot + 23h);
}

TEST_CASE("schedule: no slot at or after its expiry; startAt and endAt bound a cron line too") {
  const auto e = entry("0 * * * *", {{"expireAt", "2025-01-01T02:00:00Z"}});
  CHECK(shown(e.next_slot(at("2025-01-01T00:30:00Z"))) == "2025-01-01T01:00:00.000Z");
  CHECK(shown(e.next_slot(at("2025-01-01T01:00:00Z"))) == "never");
  const auto bounded = entry({{"kind", "cron"},
                              {"expression", "0 * * * *"},
                              {"startAt", "2025-01-02T05:00:00Z"},
                              {"endAt", "2025-01-02T06:00:00Z"}});
  CHECK(shown(bounded.next_slot(bounded.since)) == "2025-01-02T05:00:00.000Z");
  CHECK(shown(bounded.next_slot(at("2025-01-02T05:00:00Z"))) == "never");
}

TEST_CASE("schedule: once means once, until it comes into force anew; disabled means never") {
  auto e = entry("0 * * * *", {{"runOnce", true}});
  ScheduleRun run;
  CHECK(shown(next_slot(e, run)) == "2025-01-01T01:00:00.000Z");
  run.begin(e);
  run.slot = run.last_slot = at("2025-01-01T01:00:00Z");
  CHECK(shown(next_slot(e, run)) == "never");
  e.since = at("2025-02-01T00:00:00Z");
  CHECK(shown(next_slot(e, run)) == "2025-02-01T01:00:00.000Z");
  e.enabled = false;
  CHECK(shown(next_slot(e, run)) == "never");
}

TEST_CASE("schedule: jitter is the same for the same slot, stays in its bounds, and spreads") {
  const auto e = entry("every:1m", {{"jitter", "30s"}});
  std::set<std::int64_t> seen;
  Duration least = 30s, most{};
  auto slot = *e.next_slot(e.since);
  for (int i = 0; i < 1000; ++i, slot = *e.next_slot(slot)) {
    const auto jitter = e.due(slot) - slot;
    CHECK(jitter == jitter_of("e", slot, 30s));
    CHECK(jitter >= 0s);
    CHECK(jitter <= 30s);
    least = std::min(least, jitter);
    most = std::max(most, jitter);
    seen.insert(jitter.count());
  }
  CHECK(seen.size() > 990);
  CHECK(least < 1s);
  CHECK(most > 29s);
  CHECK(jitter_of("a", slot, 30s) != jitter_of("b", slot, 30s));
  CHECK(jitter_of("a", slot, 0s) == 0s);
}

TEST_CASE("schedule: a slot's job has an id of its own and says where it comes from") {
  const auto e = entry("every:1m", {{"args", {{"n", 1}}}, {"kwargs", {{"k", 2}}}, {"priority", 7}});
  const auto slot = at("2025-01-01T00:01:00Z");
  const auto job = e.job(slot, at("2025-01-01T00:01:00.25Z"), "default", 3);
  CHECK(job.id == "e@2025-01-01T00:01:00.000Z");
  CHECK(job.name == "t");
  CHECK(job.args == Json{{"n", 1}});
  CHECK(job.meta["kwargs"] == Json{{"k", 2}});
  CHECK(job.headers.at("scheduled-from") == "beat");
  CHECK(job.headers.at("schedule-id") == "e");
  CHECK(job.headers.at("schedule-slot") == "2025-01-01T00:01:00.000Z");
  CHECK(job.queue == "default");
  CHECK(job.priority == 7);
  CHECK(job.max_retries == 3);
  CHECK(entry("every:1m", {{"maxRetries", 0}, {"queue", "mail"}}).job(slot, slot, "default", 3).max_retries ==
        0);
  validate(job);
}

TEST_CASE("schedule: every form is read back as it was written") {
  for (const auto& spec :
       std::vector<Json>{"every:90s", "*/5 * * * *", "0 */5 * * * mon",
                         Json{{"kind", "interval"}, {"every", "2h"}, {"startAt", "2025-01-01T00:00:00Z"}},
                         Json{{"kind", "calendar"},
                              {"months", {1, 2}},
                              {"monthdays", {1}},
                              {"weekdays", {}},
                              {"hours", {3}},
                              {"minutes", {4}},
                              {"seconds", {5}}},
                         Json{{"kind", "solar"},
                              {"event", "dusk_civil"},
                              {"latitude", -33.9},
                              {"longitude", 18.4},
                              {"offset", "1h"}},
                         Json{{"kind", "clocked"}, {"runAt", "2030-01-01T00:00:00Z"}}}) {
    CAPTURE(spec.dump());
    const auto first = entry(spec, {{"timezone", "Europe/Berlin"},
                                    {"jitter", "5s"},
                                    {"meta", {{"a", 1}}},
                                    {"expireAt", "2040-01-01T00:00:00Z"}});
    const auto again = schedule_entry_from_wire(to_wire(first));
    CHECK(to_wire(again) == to_wire(first));
    auto after = at("2025-01-01T00:00:00Z");
    for (int i = 0; i < 5; ++i) {
      const auto slot = first.next_slot(after);
      REQUIRE(slot == again.next_slot(after));
      if (!slot) break;
      after = *slot;
    }
    CHECK_FALSE(first.schedule.text().empty());
  }
  ScheduleRun run;
  run.since = at("2024-01-01T00:00:00Z");
  run.slot = run.last_slot = at("2025-01-01T00:00:00Z");
  run.last_run = at("2025-01-01T00:00:00.123456Z");
  run.drift = 1500us;
  run.runs = 7;
  run.misfires = 2;
  run.error = "no \xc3\xa9";
  CHECK(schedule_run_from_wire(to_wire(run)) == run);
}

TEST_CASE("schedule: what cannot be read is refused with the key and the rule") {
  CHECK(refused("").says("a schedule is empty"));
  CHECK(refused("{\"kind\":" + std::string(300'000, '[')).says("nested deeper than 512 levels"));
  CHECK(refused("every:30").says("a unit is missing"));
  CHECK(refused("every:10ms").says("at least 100ms"));
  CHECK(refused("every:0").says("at least 100ms"));
  CHECK(refused(5).says("text or an object"));
  CHECK(refused(Json::object()).says("kind is missing"));
  CHECK(refused({{"kind", "intervall"}}).says("did you mean interval?"));
  CHECK(refused({{"kind", "interval"}}).says("needs the key 'every'"));
  CHECK(refused({{"kind", "interval"}, {"every", 30}}).says("every must be text"));
  CHECK(refused({{"kind", "interval"}, {"every", "1h"}, {"everyMs", 1000}})
            .says("every is there twice, also as everyMs"));
  CHECK(refused({{"kind", "interval"}, {"everyMs", -1}}).says("whole number of milliseconds"));
  CHECK(refused({{"kind", "interval"}, {"every", "1m"}, {"startat", "x"}}).says("did you mean startAt?"));
  CHECK(refused({{"kind", "interval"}, {"every", "1m"}, {"startAt", "tomorrow"}}).says("startAt: "));
  CHECK(refused({{"kind", "interval"},
                 {"every", "1m"},
                 {"startAt", "2025-01-02T00:00:00Z"},
                 {"endAt", "2025-01-01T00:00:00Z"}})
            .says("endAt must be after startAt"));
  CHECK(refused({{"kind", "interval"},
                 {"every", "1m"},
                 {"startAt", "2025-01-02T00:00:00Z"},
                 {"start_at", "2025-01-02T00:00:00Z"}})
            .says("is there twice"));
  CHECK(refused({{"kind", "cron"}, {"expression", "* * *"}}).says("has 3 fields"));
  CHECK(refused({{"kind", "calendar"}, {"hours", {"a"}}}).says("list of whole numbers"));
  CHECK(refused({{"kind", "calendar"}, {"hours", {24}}}).says("hours: 24 is out of range"));
  CHECK(refused({{"kind", "solar"}, {"event", "sunrise"}, {"latitude", 91}, {"longitude", 0}})
            .says("latitude must be a number of degrees from -90 to 90"));
  CHECK(
      refused({{"kind", "solar"}, {"event", "sunrise"}, {"latitude", 1}, {"longitude", 0}, {"offset", "25h"}})
          .says("a day at the most"));
  CHECK(refused({{"kind", "clocked"}}).says("needs the key 'runAt'"));
  CHECK(refused("{not json").says("neither JSON nor a cron line"));
}

TEST_CASE("schedule: a cron line keeps its description") {
  const auto schedule =
      Schedule::parse({{"kind", "cron"}, {"expression", "0 4 * * *"}, {"description", "while all sleep"}});
  CHECK(schedule.to_json()["description"] == "while all sleep");
  CHECK(Schedule::parse(schedule.to_json()).to_json() == schedule.to_json());
}

TEST_CASE("schedule entry: what became of it belongs to the time since it came into force") {
  auto mine = entry("every:1h", {{"runOnce", true}});
  mine.since = at("2025-01-01T00:00:00Z");
  ScheduleRun run;
  run.begin(mine);
  run.slot = run.last_slot = at("2030-01-01T00:00:00Z");
  run.runs = 3;
  CHECK_FALSE(next_slot(mine, run));
  mine.since = at("2025-01-02T00:00:00Z");
  CHECK(next_slot(mine, run) == at("2025-01-02T01:00:00Z"));
  run.begin(mine);
  CHECK(run.runs == 3);
  CHECK_FALSE(run.slot);
}

TEST_CASE("schedule entry: unknown, missing and misshapen keys are refused") {
  const auto with = [](const Json& more) { return error_of([&] { entry("every:1m", more); }); };
  CHECK(with({{"quue", "a"}}).says("unknown key 'quue'; did you mean queue?"));
  CHECK(with({{"queue", "a/b"}}).says("queue 'a/b' must be of A-Z"));
  CHECK(with({{"id", "other"}}).says("name is there twice, also as id"));
  CHECK(with({{"args", {1}}}).says("args must be an object"));
  CHECK(with({{"enabled", "yes"}}).says("enabled must be true or false"));
  CHECK(with({{"priority", 10}}).says("whole number from 0 to 9"));
  CHECK(with({{"jitter", "5"}}).says("jitter: '5' is not a duration"));
  CHECK(with({{"jitter", 5}}).says("jitter must be text"));
  CHECK(with({{"jitter", "5m"}, {"jitterMs", 1}}).says("jitter is there twice, also as jitterMs"));
  CHECK(with({{"jitterMs", "5m"}}).says("jitterMs must be a whole number"));
  CHECK(with({{"expireAt", 5}}).says("expireAt must be text"));
  CHECK(with({{"timezone", "Mars/Base"}}).says("is not a time zone"));
  CHECK(with({{"name", std::string(91, 'a')}}).says("longer than 90"));
  CHECK(error_of([] {
          schedule_entry_from(Json{{"name", "a"}, {"schedule", "@daily"}});
        }).says("'task' is missing"));
  CHECK(error_of([] {
          schedule_entry_from(Json{{"task", "a"}, {"schedule", "@daily"}});
        }).says("'name' is missing"));
  CHECK(error_of([] {
          schedule_entry_from(Json{{"task", "a"}, {"name", "b"}});
        }).says("'schedule' is missing"));
  CHECK(error_of([] { schedule_entry_from_wire("{\"v\":2}"); }).says("this Stem reads version 1"));
  CHECK(error_of([] { schedule_entry_from_wire("nonsense"); }).status == 65);
}
