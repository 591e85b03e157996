#include <doctest/doctest.h>

#include <stem/config.hpp>

#include "cli/schedule_watch.hpp"
#include "core/id.hpp"
#include "hand_clock.hpp"
#include "storage/open.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

/// Both times by hand.
class Clocks : public HandClock {
 public:
  SteadyTime steady() const override { return SteadyTime{wall().time_since_epoch()}; }
};

struct Rig {
  Clocks clock;
  Config config;
  std::shared_ptr<Store> store;
  ScheduleBook book;
  ScheduleWatch watch{clock};

  Rig()
      : store((config.broker_url = "memory://watch-" + new_id(clock.wall()),
               open_storage(config, clock).results)),
        book(store, clock) {}

  void put(const std::string& name, const std::string& schedule,
           const std::function<void(ScheduleRun&)>& ran = {}) {
    auto entry = schedule_entry_from({{"name", name}, {"task", "t"}, {"schedule", schedule}});
    entry.since = entry.created_at = entry.updated_at = clock.wall();
    ScheduleEdit edit;
    edit.revision = book.revision();
    edit.put.push_back(entry);
    book.commit(edit);
    if (!ran) return;
    ScheduleRun run;
    run.begin(entry);
    ran(run);
    store->put({{ScheduleBook::run_key(name), to_wire(run), {}}});
  }
};

}  // namespace

TEST_CASE(
    "observe schedules: what runs next comes first, with the drift of the last run and the sums below") {
  Rig rig;
  rig.put("slow", "every:1h", [&](ScheduleRun& run) {
    run.last_run = rig.clock.wall() - 5s;
    run.drift = 12ms;
    run.runs = 3;
    run.misfires = 2;
  });
  rig.put("quick", "every:10s", [&](ScheduleRun& run) { run.error = "no such\x1b queue"; });
  rig.store->put({{ScheduleBook::entry_key("broken"), "nonsense", {}}});
  const auto sample = rig.watch.look(rig.book, *rig.store);
  REQUIRE(sample.schedules.size() == 3);
  CHECK(sample.schedules[0].name == "quick");
  CHECK(sample.schedules[2].name == "broken");
  const auto text = schedule_watch_table(sample);
  INFO(text);
  CHECK(text.find("slow    in 1h     5s ago    12ms      3         2  on") != std::string::npos);
  CHECK(text.find("failing") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("3 schedules, 2 to come, the next in 10s; 0 overdue, 2 failing; largest drift 12ms\nno "
                  "scheduler leads\n") != std::string::npos);
  const auto json = to_json(sample);
  CHECK(json.at("schedules") == 3);
  CHECK(json.at("misfires") == 2);
  CHECK(json.at("maxDriftMs") == 12.0);
  CHECK(json.at("leader").is_null());
  CHECK(json.at("entries").size() == 3);
  CHECK(schedule_watch_table({.at = {}, .schedules = {}, .leader = {}, .silence = {}}) ==
        "there is no schedule\nno scheduler leads\n");
}

TEST_CASE("observe schedules: one that nobody runs is overdue") {
  Rig rig;
  rig.put("a", "every:10s");
  rig.clock.move(19s);
  CHECK(to_json(rig.watch.look(rig.book, *rig.store)).at("overdue") == 0);
  rig.clock.move(2s);
  const auto sample = rig.watch.look(rig.book, *rig.store);
  CHECK(to_json(sample).at("overdue") == 1);
  CHECK(schedule_watch_table(sample).find(" overdue") != std::string::npos);
}

TEST_CASE("observe schedules: a leader is named, and one that renews no more is silent after its period") {
  Rig rig;
  LeaderLock lock(rig.store, rig.clock, "scheduler on web (pid 12)", 9s);
  REQUIRE(lock.hold());
  auto sample = rig.watch.look(rig.book, *rig.store);
  REQUIRE(sample.leader);
  CHECK(sample.leader->title == "scheduler on web (pid 12)");
  CHECK(sample.leader->period == 9s);
  CHECK(!sample.leader_is_silent());
  rig.clock.move(8s);
  REQUIRE(lock.hold());
  sample = rig.watch.look(rig.book, *rig.store);
  CHECK(!sample.leader_is_silent());
  rig.clock.move(10s);
  sample = rig.watch.look(rig.book, *rig.store);
  CHECK(sample.leader_is_silent());
  CHECK(schedule_watch_table(sample).find(
            "leader: scheduler on web (pid 12), started 18s ago; silent for 10s\n") != std::string::npos);
  CHECK(to_json(sample).at("leader").at("silentMs") == 10'000);
  lock.release();
  CHECK(!rig.watch.look(rig.book, *rig.store).leader);
  rig.store->put({{LeaderLock::key, R"({"title": 5, "since": "soon", "periodMs": -1})", {}}});
  sample = rig.watch.look(rig.book, *rig.store);
  REQUIRE(sample.leader);
  CHECK(sample.leader->title == "another scheduler");
  CHECK(!sample.leader->since);
}
