#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include "collector.hpp"
#include "error_of.hpp"
#include "interposed_store.hpp"
#include "scheduler/beat.hpp"
#include "scheduler/schedule_plan.hpp"
#include "scheduler/scheduler.hpp"
#include "storage_rig.hpp"
#include "worker/attempts.hpp"
#include "worker/routing_file.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// Schedules and jobs in one system, as it is by default: on each adapter.
struct MemoryPlaces : MemoryRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, storage.results};
  }
};
struct SqlitePlaces : SqliteRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, storage.results};
  }
};
struct RedisPlaces : RedisRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, storage.results};
  }
};
struct PostgresPlaces : PostgresRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, storage.results};
  }
};
/// Schedules in another system than jobs: nothing is written in one commit.
struct SplitPlaces : SqliteRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, open_storage(config_of(schedules), clock).results};
  }
  const std::string schedules = "memory://split-" + new_id(Clock::system().wall());
};

/// Both clocks moved by hand. `ahead` is by how much the wall clock is wrong.
struct Hands : Clock {
  WallTime wall() const override { return now + ahead; }
  SteadyTime steady() const override {
    return SteadyTime{} + std::chrono::hours{1000} + ((frozen ? *frozen : now) - begin);
  }
  std::optional<WallTime>
      frozen{};  // the steady clock stands still: as if no time had passed since the lock was renewed
  Duration ahead{};
  void move(Duration by) { now += by; }
  const WallTime begin = parse_time("2025-01-02T00:00:00Z");
  WallTime now = begin;
};

template <class Rig>
struct Bench {
  Bench() { options.lock_period = 15s; }

  std::unique_ptr<Beat> beat(const std::string& title = "one") {
    auto mine = options;
    mine.title = title;
    return std::make_unique<Beat>(mine, rig.places(hands), hands);
  }
  ScheduleBook book() { return ScheduleBook(rig.places(hands).schedules, hands); }

  ScheduleEntry entry(const std::string& name, Json schedule, Json more = Json::object()) {
    Json object{{"name", name}, {"task", "test.task"}, {"schedule", std::move(schedule)}};
    object.update(more);
    auto entry = schedule_entry_from(object);
    entry.since = entry.created_at = entry.updated_at = hands.wall();
    return entry;
  }
  void put(const std::vector<ScheduleEntry>& entries) {
    auto book = this->book();
    book.commit({.revision = book.revision(), .put = entries, .remove = {}});
  }
  void remove(const std::string& name) {
    auto book = this->book();
    book.commit({.revision = book.revision(), .put = {}, .remove = {name}});
  }
  ScheduleRun run_of(const std::string& name) { return book().find(name)->run; }
  /// Turns until there is nothing to do before `until`; the clock follows.
  void run_until(Beat& beat, WallTime until) {
    for (;;) {
      const auto next = beat.turn();
      if (hands.now + next > until) break;
      hands.move(next);
    }
    hands.now = until;
  }
  /// Ids of all jobs so far, each acknowledged when it is seen: as if workers were quick.
  std::vector<std::string> done() {
    auto broker = rig.places(hands).broker;
    for (;;) {
      Demand demand{.queues = {"default"}, .limit = 100, .lease = 30s, .consumer = "test"};
      const auto some = broker->fetch(demand);
      if (some.empty()) break;
      for (const auto& delivery : some) {
        all.push_back(delivery.id);
        const Settlement end{delivery.receipt, Ack{}, StoreWrite{result_key(delivery.id), "done", 1h}};
        broker->settle({&end, 1});
      }
    }
    return all;
  }

  Rig rig;
  Hands hands;
  BeatOptions options;
  std::vector<std::string> all;
};

using Ids = std::vector<std::string>;

}  // namespace

#define EVERYWHERE(name) \
  TEST_CASE_TEMPLATE(name, Rig, MemoryPlaces, SqlitePlaces, RedisPlaces, PostgresPlaces, SplitPlaces)
/// Where jobs and what is remembered of them are one commit.
#define EVERY_WHOLE(name) \
  TEST_CASE_TEMPLATE(name, Rig, MemoryPlaces, SqlitePlaces, RedisPlaces, PostgresPlaces)

EVERYWHERE("beat: each slot gets one job, at its time and not before") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:10s"), bench.entry("b", "0 0 1 1 *")});
  const auto beat = bench.beat();
  const auto first = bench.hands.now + 10s;
  bench.run_until(*beat, first - 1us);
  CHECK(bench.done().empty());
  bench.run_until(*beat, first);
  CHECK(bench.done() == Ids{slot_id("a", first)});
  bench.run_until(*beat, first + 35s);
  CHECK(bench.done() == Ids{slot_id("a", first), slot_id("a", first + 10s), slot_id("a", first + 20s),
                            slot_id("a", first + 30s)});
  const auto booked = bench.book().find("a");
  REQUIRE(booked);
  CHECK(booked->run.runs == 4);
  CHECK(booked->run.slot == first + 30s);
  CHECK(booked->run.drift == 0s);
  CHECK(booked->run.misfires == 0);
  CHECK(beat->counters().published == 4);
}

EVERYWHERE("beat: a slot's job is published though that of the slot before still runs") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:10s")});
  const auto beat = bench.beat();
  const auto first = bench.hands.now + 10s;
  const auto broker = bench.rig.places(bench.hands).broker;
  const Demand demand{.queues = {"default"}, .limit = 100, .lease = 5min, .consumer = "test"};
  bench.run_until(*beat, first);
  const auto before = broker->fetch(demand);
  REQUIRE(before.size() == 1);
  CHECK(before.front().id == slot_id("a", first));
  bench.run_until(*beat, first + 10s);
  const auto beside = broker->fetch(demand);
  REQUIRE(beside.size() == 1);
  CHECK(beside.front().id == slot_id("a", first + 10s));
  const auto depths = broker->depths();
  REQUIRE(depths.size() == 1);
  CHECK(depths.front().leased == 2);
}

EVERYWHERE("beat: a turn says exactly when there is something to do") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:3s")});
  const auto beat = bench.beat();
  const auto next = beat->turn();
  CHECK(bench.hands.now + next == bench.hands.begin + 3s);
}

EVERYWHERE("beat: jitter puts the job off, not the slot") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m", {{"jitter", "20s"}})});
  const auto slot = bench.hands.begin + 1min;
  const auto due = slot + jitter_of("a", slot, 20s);
  const auto beat = bench.beat();
  bench.run_until(*beat, due - 1us);
  CHECK(bench.done().empty());
  bench.run_until(*beat, due);
  CHECK(bench.done() == Ids{slot_id("a", slot)});
  CHECK(bench.book().find("a")->run.drift == 0s);
}

EVERYWHERE("beat: edits are seen at the next turn: added, changed, disabled, removed") {
  Bench<Rig> bench;
  const auto beat = bench.beat();
  beat->turn();
  bench.put({bench.entry("a", "every:10s")});
  bench.run_until(*beat, bench.hands.now + 10s);
  CHECK(bench.done().size() == 1);
  auto changed = bench.entry("a", "every:1h");
  bench.put({changed});
  bench.run_until(*beat, bench.hands.now + 30s);
  CHECK(bench.done().size() == 1);
  changed = bench.entry("a", "every:10s");
  changed.enabled = false;
  bench.put({changed});
  bench.run_until(*beat, bench.hands.now + 30s);
  CHECK(bench.done().size() == 1);
  CHECK(beat->counters().schedules == 1);
  auto book = bench.book();
  book.commit({.revision = book.revision(), .put = {}, .remove = {"a"}});
  beat->turn();
  CHECK(beat->counters().schedules == 0);
  CHECK_FALSE(book.find("a"));
}

EVERYWHERE("beat: catch-up: all missed slots, the last one, or none") {
  for (const auto policy : {CatchUp::all, CatchUp::last, CatchUp::none}) {
    Bench<Rig> bench;
    bench.options.catch_up = policy;
    const auto start = bench.hands.now;
    bench.put({bench.entry("a", "every:10m")});
    bench.hands.now = start + 35min;  // 10, 20 and 30 were missed, the last by 5 minutes
    const auto beat = bench.beat();
    beat->turn();
    const Ids every{slot_id("a", start + 10min), slot_id("a", start + 20min), slot_id("a", start + 30min)};
    auto run = bench.book().find("a")->run;
    if (policy == CatchUp::all) {
      CHECK(bench.done() == every);
      CHECK(run.misfires == 0);
    }
    if (policy == CatchUp::last) CHECK(bench.done() == Ids{every.back()});
    if (policy == CatchUp::none) CHECK(bench.done().empty());
    if (policy != CatchUp::all) CHECK(run.misfires == 1);
    if (policy != CatchUp::none) CHECK(run.slot == start + 30min);
    // And from there it goes on.
    bench.run_until(*beat, start + 40min);
    CHECK(bench.done().back() == slot_id("a", start + 40min));
  }
}

EVERYWHERE("beat: without catch-up, a slot within the grace still runs") {
  Bench<Rig> bench;
  bench.options.catch_up = CatchUp::none;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:10m")});
  bench.hands.now = start + 20min + 59s;
  bench.beat()->turn();
  CHECK(bench.done() == Ids{slot_id("a", start + 20min)});
}

EVERYWHERE("beat: a schedule of every second that nobody ran for a year is caught up in a moment") {
  Bench<Rig> bench;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "* * * * * *")});
  bench.hands.now = start + 24h * 365;
  bench.options.grace = 0s;
  bench.beat()->turn();
  CHECK(bench.done() == Ids{slot_id("a", start + 24h * 365)});
  CHECK(bench.run_of("a").misfires == 1);
}

EVERYWHERE("beat: once is once, also over restarts and for missed slots") {
  Bench<Rig> bench;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:10m", {{"runOnce", true}}),
             bench.entry("b", {{"kind", "clocked"}, {"runAt", format_time(start + 5min)}})});
  bench.hands.now = start + 1h;
  const auto one = bench.beat();
  one->turn();
  one->resign();
  bench.hands.now = start + 2h;
  const auto two = bench.beat("two");
  two->turn();
  CHECK(two->counters().leading);
  auto done = bench.done();
  std::sort(done.begin(), done.end());
  CHECK(done == Ids{slot_id("a", start + 10min), slot_id("b", start + 5min)});
}

EVERYWHERE("beat: of two schedulers one leads; the other takes over within two lock periods of its death") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1s")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
  two->turn();
  CHECK(one->counters().leading);
  CHECK_FALSE(two->counters().leading);
  CHECK(two->holder() == "one");
  const auto start = bench.hands.now;
  const auto until = start + 40s;
  while (bench.hands.now < until) {
    bench.hands.move(std::min({one->turn(), two->turn(), Duration{100ms}}));
    CHECK_FALSE(two->counters().leading);
  }
  // It dies here, without a word.
  const auto death = bench.hands.now;
  one.reset();
  while (!two->counters().leading) {
    bench.hands.move(std::min(two->turn(), Duration{100ms}));
    REQUIRE(bench.hands.now < death + 30s);
  }
  bench.run_until(*two, death + 60s);
  const auto done = bench.done();
  CHECK(std::set<std::string>(done.begin(), done.end()).size() == done.size());
  CHECK(done.back() == slot_id("a", bench.hands.begin + std::chrono::floor<std::chrono::seconds>(
                                                            bench.hands.now - bench.hands.begin)));
}

EVERYWHERE("beat: one that resigns lets the next lead at once") {
  Bench<Rig> bench;
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
  two->turn();
  one->resign();
  two->turn();
  CHECK(two->counters().leading);
  one->turn();
  CHECK_FALSE(one->counters().leading);
}

// The leader hangs after its lock has ended and wakes up while another leads: what it still has in mind must
// not be published, although the other's job was done long ago and its id is free again.
EVERY_WHOLE("beat: a leader that hung publishes nothing after another has taken over") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
  two->turn();
  bench.hands.now = bench.hands.begin + 1min;
  two->turn();
  CHECK(two->counters().leading);
  CHECK(bench.done().size() == 1);
  // `one` still believes that it leads, that its lock was renewed just now, and that the slot is due.
  CHECK(one->counters().leading);
  bench.hands.frozen = bench.hands.begin;
  one->turn();
  CHECK_FALSE(one->counters().leading);
  CHECK(bench.done().size() == 1);
}

EVERY_WHOLE("beat: a leader whose lock ended and that gets it back reads anew what another did meanwhile") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
  two->turn();
  bench.hands.now = bench.hands.begin + 1min;
  two->turn();
  two->resign();
  CHECK(bench.done().size() == 1);
  one->turn();
  CHECK(one->counters().leading);
  CHECK(bench.done().size() == 1);
  bench.run_until(*one, bench.hands.begin + 2min + 1s);
  CHECK(bench.done().size() == 2);
}

EVERY_WHOLE("beat: over the changes of the clocks, what is daily runs once a day") {
  Bench<Rig> bench;
  bench.options.lock_period = std::chrono::hours{6};  // not so many renewals
  for (const auto* day : {"2025-03-29T12:00:00Z", "2025-10-25T12:00:00Z"}) {
    bench.hands.now = parse_time(day);
    auto entry =
        bench.entry("d" + std::string(day).substr(5, 2), "30 2 * * *", {{"timezone", "Europe/Berlin"}});
    bench.put({entry});
    const auto before = bench.done().size();
    const auto beat = bench.beat(day);
    bench.run_until(*beat, parse_time(day) + std::chrono::hours{48});
    CHECK(bench.done().size() == before + 2);
    beat->resign();
    auto book = bench.book();
    book.commit({.revision = book.revision(), .put = {}, .remove = {entry.name}});
  }
  const auto done = bench.done();
  CHECK(done == Ids{"d03@2025-03-30T01:00:00.000Z", "d03@2025-03-31T00:30:00.000Z",
                    "d10@2025-10-26T00:30:00.000Z", "d10@2025-10-27T01:30:00.000Z"});
}

EVERY_WHOLE("broker: a guarded publication is all or nothing") {
  Bench<Rig> bench;
  auto places = bench.rig.places(bench.hands);
  REQUIRE(places.broker->publishes_with(*places.schedules));
  REQUIRE(places.schedules->compare_and_set({"lock", "mine", 10s}, 0));
  const auto version = places.schedules->get("lock")->version;
  const std::vector<Envelope> jobs{bench.rig.job("a"), bench.rig.job("b")};
  CHECK(places.broker->publish_guarded(jobs, {{"lock", version}, {"none", 0}}, {{"r", "1", {}}}) == 2);
  CHECK(places.schedules->get("r")->value == "1");
  CHECK(places.broker->publish_guarded(jobs, {{"lock", version}}, {{"r", "2", {}}}) == 0);
  CHECK(places.schedules->get("r")->value == "2");
  const std::vector<Envelope> more{bench.rig.job("c")};
  CHECK_FALSE(places.broker->publish_guarded(more, {{"none", 0}, {"lock", version + 1}}, {{"r", "3", {}}}));
  CHECK_FALSE(places.broker->publish_guarded(more, {{"lock", version}, {"other", 1}}, {{"r", "3", {}}}));
  bench.hands.move(11s);
  CHECK_FALSE(places.broker->publish_guarded(more, {{"lock", version}}, {{"r", "3", {}}}));
  CHECK(places.schedules->get("r")->value == "2");
  CHECK_FALSE(places.broker->find("c"));
}

TEST_CASE("broker: one whose store is another system does not bind publications to it, and says so") {
  Bench<SplitPlaces> bench;
  const auto places = bench.rig.places(bench.hands);
  CHECK_FALSE(places.broker->publishes_with(*places.schedules));
}

TEST_CASE(
    "beat: with two systems, a slot that was published but not noted is not published again by the next "
    "leader") {
  Bench<SplitPlaces> bench;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:1m"), bench.entry("b", "every:1m")});
  // The leader died between the two: the job of `a` is there and done, that of `b` waits.
  auto places = bench.rig.places(bench.hands);
  const std::vector<Envelope> jobs{bench.book().find("a")->entry.job(start + 1min, start, "default", 3)};
  places.broker->publish(jobs);
  CHECK(bench.done().size() == 1);
  const std::vector<Envelope> waiting{bench.book().find("b")->entry.job(start + 1min, start, "default", 3)};
  places.broker->publish(waiting);
  bench.hands.now = start + 90s;
  bench.beat()->turn();
  auto done = bench.done();
  std::sort(done.begin(), done.end());
  CHECK(done == Ids{slot_id("a", start + 1min), slot_id("b", start + 1min)});
  CHECK(bench.book().find("a")->run.slot == start + 1min);
}

TEST_CASE(
    "beat: with two systems, a slot whose record could not be written, or not any more, is not published "
    "again") {
  for (const bool edited : {false, true}) {
    Bench<SplitPlaces> bench;
    bench.put({bench.entry("a", "every:10s")});
    auto places = bench.rig.places(bench.hands);
    const auto store = std::make_shared<InterposedStore>(places.schedules);
    places.schedules = store;
    Beat beat(bench.options, places, bench.hands);
    beat.turn();
    bench.hands.move(10s);
    store->before = [&, once = true](const auto& writes) mutable {
      if (!writes[0].key.starts_with("schedule-run:") || !std::exchange(once, false)) return;
      if (!edited) throw Error(Exit::unavailable, "the store has gone");
      bench.put({bench.entry("b", "every:1h")});
    };
    if (edited)
      beat.turn();
    else
      CHECK(error_of([&] { beat.turn(); }).status == 69);
    CHECK(bench.done().size() == 1);
    bench.run_until(beat, bench.hands.now + 1s);
    CHECK(bench.done().size() == 1);
    CHECK(bench.run_of("a").runs == 1);
    bench.run_until(beat, bench.hands.now + 10s);
    CHECK(bench.done().size() == 2);
  }
}

TEST_CASE("beat: with two systems, a collector is told of what was published, and of what was there before") {
  Collector collector;
  Bench<SplitPlaces> bench;
  TelemetryConfig telemetry;
  telemetry.traces.url = collector.url() + "/v1/traces";
  telemetry.span_delay = 1ms;
  bench.options.tracer = Tracer::shared(telemetry, {"stem", "one"});
  bench.put({bench.entry("a", "every:1m")});
  const auto start = bench.hands.now;
  auto places = bench.rig.places(bench.hands);
  const std::vector<Envelope> waiting{bench.book().find("a")->entry.job(start + 1min, start, "default", 3)};
  places.broker->publish(waiting);
  bench.hands.now = start + 90s;
  const auto store = std::make_shared<InterposedStore>(places.schedules);
  places.schedules = store;
  Beat beat(bench.options, places, bench.hands);
  beat.turn();
  REQUIRE(collector.await_spans(1));
  CHECK(Collector::attributes(collector.spans()[0])["stem.task.id"] == waiting[0].id);
  CHECK(Collector::attributes(collector.spans()[0])["stem.task.duplicate"] == true);
  // One whose record is refused after it was published.
  bench.hands.move(30s);
  store->before = [&, once = true](const auto& writes) mutable {
    if (writes[0].key.starts_with("schedule-run:") && std::exchange(once, false))
      bench.put({bench.entry("b", "every:1h")});
  };
  beat.turn();
  REQUIRE(collector.await_spans(2));
  CHECK(Collector::attributes(collector.spans()[1])["stem.task.id"] == slot_id("a", start + 2min));
  CHECK_FALSE(Collector::attributes(collector.spans()[1]).contains("stem.task.duplicate"));
  CHECK(bench.done().size() == 2);
}

EVERYWHERE("beat: a schedule that cannot be read is left out, the others run") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  auto store = bench.rig.places(bench.hands).schedules;
  store->put({{ScheduleBook::entry_key("bad"), "{\"v\":7}", {}}, {ScheduleBook::revision_key, "x", {}}});
  const auto beat = bench.beat();
  bench.run_until(*beat, bench.hands.now + 1min);
  CHECK(beat->counters().broken == 1);
  CHECK(bench.done().size() == 1);
  const auto bad = bench.book().find("bad");
  REQUIRE(bad);
  CHECK(bad->error.find("version 7") != std::string::npos);
}

EVERYWHERE("book: an edit made from an older state is refused, whole") {
  Bench<Rig> bench;
  auto book = bench.book();
  const auto before = book.revision();
  bench.put({bench.entry("a", "every:1m")});
  const auto failed = error_of(
      [&] { book.commit({.revision = before, .put = {bench.entry("b", "every:1m")}, .remove = {"a"}}); });
  CHECK(failed.status == 75);
  CHECK(failed.says("changed by somebody else"));
  CHECK(book.find("a"));
  CHECK_FALSE(book.find("b"));
}

EVERYWHERE("book: news tell what changed since the last edit, or that all has to be looked at") {
  Bench<Rig> bench;
  auto book = bench.book();
  bench.put({bench.entry("a", "every:1m")});
  const auto first = book.revision();
  bench.put({bench.entry("b", "every:1m"), bench.entry("c", "every:1m")});
  auto news = book.news(first);
  CHECK_FALSE(news.all);
  CHECK(news.changed == std::vector<std::string>{"b", "c"});
  bench.put({bench.entry("d", "every:1m")});
  CHECK(book.news(first).all);
  CHECK(book.news(book.revision()).changed.empty());
  std::vector<std::string> names;
  for (const auto& booked : book.all()) names.push_back(booked.name);
  CHECK(names == std::vector<std::string>{"a", "b", "c", "d"});
}

EVERYWHERE(
    "beat: a leader is killed and the clock is set back: another leads within two lock periods, and edits go "
    "on") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:10s")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
  two->turn();
  one.reset();
  bench.hands.ahead = -1h;
  const auto death = bench.hands.now;
  while (!two->counters().leading) {
    bench.hands.move(std::min(two->turn(), Duration{100ms}));
    REQUIRE(bench.hands.now <= death + 30s);
  }
  bench.put({bench.entry("b", "every:10s")});
  bench.hands.ahead = -2h;
  bench.put({bench.entry("c", "every:10s")});
  two->turn();
  CHECK(two->counters().schedules == 3);
}

TEST_CASE("lock: whoever waits does so for the period of the one who leads, however short its own is") {
  Bench<MemoryPlaces> bench;
  const auto store = bench.rig.places(bench.hands).schedules;
  LeaderLock slow(store, bench.hands, "slow", 60s), quick(store, bench.hands, "quick", 1s);
  REQUIRE(slow.hold());
  for (int i = 0; i < 59; ++i, bench.hands.move(1s)) REQUIRE_FALSE(quick.hold());
  CHECK(quick.holder() == "slow");
  bench.hands.move(1s);
  CHECK(quick.hold());
  CHECK_FALSE([&] {
    slow.doubt();
    return slow.hold();
  }());
}

TEST_CASE(
    "lock: who doubts asks the store in its next turn, also with a period longer than the machine has been "
    "up") {
  Bench<MemoryPlaces> bench;
  const auto store = bench.rig.places(bench.hands).schedules;
  LeaderLock lock(store, bench.hands, "one", std::chrono::hours{100'000});
  REQUIRE(lock.hold());
  const auto before = lock.guard().version;
  lock.doubt();
  CHECK(lock.next_look() == 0s);
  REQUIRE(lock.hold());
  CHECK(lock.guard().version > before);
  CHECK(lock.next_look() > 1h);
  store->put({{LeaderLock::key, "{\"title\":\"two\"}", {}}});
  lock.doubt();
  CHECK_FALSE(lock.hold());
  CHECK(lock.holder() == "two");
}

EVERYWHERE("beat: after a clock that was years ahead a schedule is silent, and an edit of it ends that") {
  Bench<Rig> bench;
  bench.options.grace = 5s;
  bench.put({bench.entry("a", "every:10s")});
  const auto beat = bench.beat();
  bench.hands.ahead = 24h * 365 * 5;
  beat->turn();
  CHECK(bench.done().size() == 1);
  bench.hands.ahead = {};
  bench.run_until(*beat, bench.hands.now + 60s);
  CHECK(bench.done().size() == 1);
  auto book = bench.book();
  for (const bool enabled : {false, true})
    book.commit(plan_enabling(book, {"a"}, enabled, bench.hands.now).edit);
  CHECK(book.find("a")->run.runs == 1);
  bench.run_until(*beat, bench.hands.now + 30s);
  CHECK(bench.done().size() == 4);
  CHECK(bench.run_of("a").runs == 4);
}

EVERYWHERE(
    "beat: what runs once and is never made up for passes over all that was missed in one commit, and runs "
    "in time") {
  Bench<Rig> bench;
  bench.options.catch_up = CatchUp::none;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:1m", {{"runOnce", true}})});
  bench.hands.now = start + 24h + 30s;
  bench.options.grace = 10s;
  const auto beat = bench.beat();
  beat->turn();
  CHECK(bench.done().empty());
  CHECK(bench.run_of("a").misfires == 1);
  bench.run_until(*beat, start + 24h + 10min);
  CHECK(bench.done() == Ids{slot_id("a", start + 24h + 1min)});
}

EVERYWHERE("beat: slots that are late by less than the grace all run, whatever is made up for") {
  for (const auto policy : {CatchUp::all, CatchUp::last, CatchUp::none}) {
    Bench<Rig> bench;
    bench.options.catch_up = policy;
    const auto start = bench.hands.now;
    bench.put({bench.entry("a", "every:1s")});
    const auto beat = bench.beat();
    bench.run_until(*beat, start + 2s);
    bench.hands.move(3s);  // it was held up
    bench.run_until(*beat, start + 10s);
    CHECK(bench.done().size() == 10);
    CHECK(bench.run_of("a").runs == 10);
    CHECK(bench.run_of("a").misfires == 0);
  }
}

EVERYWHERE("beat: a jitter longer than the time between two slots loses none, and they keep their order") {
  Bench<Rig> bench;
  bench.options.grace = 5s;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:1m", {{"jitter", "2m"}})});
  const auto beat = bench.beat();
  bench.run_until(*beat, start + 1h + 2min);
  Ids hour;
  for (int i = 1; i <= 60; ++i) hour.push_back(slot_id("a", start + i * 1min));
  auto done = bench.done();
  REQUIRE(done.size() >= 60);
  done.resize(60);
  CHECK(done == hour);
  CHECK(bench.run_of("a").misfires == 0);
}

EVERYWHERE(
    "beat: many slots at once are published in portions, between which there is time for other things") {
  Bench<Rig> bench;
  bench.options.catch_up = CatchUp::all;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:1s")});
  bench.hands.now = start + 500s;
  const auto beat = bench.beat();
  CHECK(beat->turn() == 0s);
  CHECK(bench.run_of("a").runs == 200);
  bench.remove("a");
  beat->turn();
  CHECK(bench.done().size() == 200);
}

TEST_CASE("beat: the last slot of one that ended long ago is found in a moment") {
  Bench<MemoryPlaces> bench;
  const auto start = bench.hands.now;
  const auto end = start + 24h * 365;
  bench.put({bench.entry("a", {{"kind", "interval"}, {"every", "100ms"}, {"endAt", format_time(end)}})});
  bench.hands.now = start + 24h * 500;
  const auto began = std::chrono::steady_clock::now();
  bench.beat()->turn();
  CHECK(std::chrono::steady_clock::now() - began < 2s);  // one by one they take minutes
  CHECK(bench.done() == Ids{slot_id("a", end - 100ms)});
}

// The edit comes at each of the instants at which the leader looks at its clock.
EVERY_WHOLE(
    "beat: when an edit has been committed, nothing of the schedule as it was is published any more") {
  struct Watched : Hands {
    WallTime wall() const override { return look(), Hands::wall(); }
    SteadyTime steady() const override { return look(), Hands::steady(); }
    void look() const {
      if (++looks == at) happens();
    }
    mutable int looks = 0;
    int at = 0;
    std::function<void()> happens;
  };
  int published = 0;
  for (int at = 1;; ++at) {
    Bench<Rig> bench;
    bench.put({bench.entry("a", "every:10s")});
    Watched clock;
    auto options = bench.options;
    Beat beat(options, bench.rig.places(bench.hands), clock);
    beat.turn();
    clock.now = bench.hands.now += 10s;
    clock.looks = 0;
    clock.at = at;
    std::optional<std::size_t> jobs;
    clock.happens = [&] {
      bench.remove("a");
      jobs = bench.done().size();
    };
    for (int i = 0; i < 3; ++i) beat.turn();
    if (!jobs) break;
    CHECK(bench.done().size() == *jobs);
    CHECK_FALSE(bench.book().find("a"));
    const auto run = bench.rig.places(bench.hands).schedules->get(ScheduleBook::run_key("a"));
    CHECK((!run || run->value.empty()));
    published += static_cast<int>(*jobs);
    REQUIRE(at < 200);
  }
  CHECK(published > 0);
}

EVERYWHERE(
    "book: an edit that is held up before it is written does not overwrite the one that came in between") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  const auto store = std::make_shared<InterposedStore>(bench.rig.places(bench.hands).schedules);
  store->before = [&, once = true](const auto&) mutable {
    if (!std::exchange(once, false)) return;
    bench.hands.move(11s);
    bench.put({bench.entry("a", "every:2m")});
  };
  ScheduleBook book(store, bench.hands);
  const auto revision = book.revision();
  CHECK(error_of([&] {
          book.commit({.revision = revision, .put = {bench.entry("a", "every:3m")}, .remove = {}});
        }).status == 75);
  CHECK(bench.book().find("a")->entry.schedule.text() == "every 2m");
  // Nobody has to wait for it.
  bench.put({bench.entry("a", "every:4m")});
}

EVERYWHERE("beat: the count of unreadable schedules falls when one is mended or deleted") {
  Bench<Rig> bench;
  const auto store = bench.rig.places(bench.hands).schedules;
  store->put(
      {{ScheduleBook::entry_key("a"), "{\"v\":7}", {}}, {ScheduleBook::entry_key("b"), "no JSON", {}}});
  bench.put({bench.entry("c", "every:1m")});
  const auto beat = bench.beat();
  beat->turn();
  CHECK(beat->counters().broken == 2);
  bench.put({bench.entry("a", "every:1m")});
  beat->turn();
  CHECK(beat->counters().broken == 1);
  bench.remove("b");
  beat->turn();
  CHECK(beat->counters().broken == 0);
  CHECK(beat->counters().schedules == 2);
}

EVERYWHERE("beat: what expired in the schedule store is swept, though no worker uses it") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  bench.remove("a");
  bench.hands.move(1s);
  const auto beat = bench.beat();
  beat->turn();
  CHECK(bench.rig.places(bench.hands).schedules->sweep() == 0);
}

TEST_CASE("places: one file under two names is one system, in which a run is one commit") {
  TempDir dir;
  std::filesystem::create_directory(dir / "real");
  std::filesystem::create_directory_symlink(dir / "real", dir / "link");
  Config config;
  config.broker_url = "sqlite://" + (dir / "real/stem.db");
  for (const auto& other : {"sqlite://" + (dir / "link/stem.db"), config.broker_url + "?busy_timeout=1s"}) {
    config.schedule_store_url = other;
    const auto places = open_schedule_places(config);
    CHECK(places.broker->publishes_with(*places.schedules));
    REQUIRE(places.schedules->compare_and_set({"lock", "mine", {}}, 0));
    const auto version = places.schedules->get("lock")->version;
    CHECK(places.broker->publish_guarded({}, {{"lock", version}}, {{"r", "1", {}}}));
    CHECK(places.schedules->get("r")->value == "1");
    places.schedules->erase("lock");
  }
  config.schedule_store_url = "sqlite://" + (dir / "other.db");
  CHECK_FALSE(open_schedule_places(config).broker->publishes_with(*open_schedule_places(config).schedules));
  config.broker_url = RedisServer::shared().url("namespace=same");
  config.schedule_store_url = RedisServer::shared().url("namespace=same&timeout=7s");
  auto places = open_schedule_places(config);
  CHECK(places.broker->publishes_with(*places.schedules));
  config.schedule_store_url = RedisServer::shared().url("namespace=another");
  places = open_schedule_places(config);
  CHECK_FALSE(places.broker->publishes_with(*places.schedules));
}

TEST_CASE("beat: 100,000 schedules cost no more than those that are due") {
  Bench<MemoryPlaces> bench;
  std::vector<ScheduleEntry> many;
  for (int i = 0; i < 100'000; ++i)
    many.push_back(bench.entry("s" + std::to_string(i), i < 10 ? Json("every:1m") : Json("0 0 1 1 *")));
  bench.put(many);
  const auto beat = bench.beat();
  beat->turn();
  CHECK(beat->counters().schedules == 100'000);
  const auto began = std::chrono::steady_clock::now();
  int turns = 0;
  for (; turns < 100; ++turns) bench.run_until(*beat, bench.hands.now + 1min);
  const auto each = (std::chrono::steady_clock::now() - began) / turns;
  CHECK(bench.done().size() == 1000);
  CHECK(each < 20ms);  // looking at all of them takes a second
}

EVERYWHERE("beat: jobs are signed where there is a key, and hold under it alone") {
  SigningConfig signing;
  signing.keys = {{"v1", "thirty-two bytes of a real secret"}};
  signing.active_key = "v1";
  Bench<Rig> bench;
  bench.options.signer = PayloadSigner::maybe(signing);
  bench.put({bench.entry("a", "every:10s")});
  auto beat = bench.beat();
  bench.run_until(*beat, bench.hands.begin + 11s);
  const auto jobs = bench.rig.places(bench.hands).broker->fetch({{"default"}, 10, 30s, "test"});
  REQUIRE_FALSE(jobs.empty());
  auto job = envelope_from_wire(jobs.front().wire);
  CHECK(job.headers.at("stem-signature-key") == "v1");
  CHECK_FALSE(bench.options.signer->verify(job));
  job.name = "another.task";
  CHECK(bench.options.signer->verify(job));
}

TEST_CASE(
    "beat: a routing file decides where a schedule's job goes, and with which priority; a broadcast is "
    "refused") {
  Bench<MemoryPlaces> bench;
  bench.options.routing = read_routing("r.yaml", R"(
queues:
  default:
  mail: {priority_range: [2, 7]}
broadcasts:
  caches:
routes:
  - match: {task: "mail.*"}
    target: {type: queue, name: mail}
    priority_override: 9
  - match: {task: cache.flush}
    target: {type: broadcast, name: caches}
)",
                                       "default")
                              .routing;
  bench.put({bench.entry("a", "every:10s", {{"task", "mail.send"}}),
             bench.entry("b", "every:10s", {{"task", "cache.flush"}}),
             bench.entry("c", "every:10s", {{"queue", "reports"}, {"priority", 4}})});
  bench.run_until(*bench.beat(), bench.hands.now + 10s);
  const auto job_in = [&](const std::string& queue) {
    const auto some = bench.rig.places(bench.hands)
                          .broker->fetch({.queues = {queue}, .limit = 9, .lease = 30s, .consumer = "test"});
    REQUIRE(some.size() == 1);
    return envelope_from_wire(some[0].wire);
  };
  const auto mail = job_in("mail"), report = job_in("reports");
  CHECK(mail.headers.at("schedule-id") == "a");
  CHECK(mail.priority == 7);
  CHECK(report.headers.at("schedule-id") == "c");
  CHECK(report.priority == 4);
  CHECK(bench.done().empty());
  CHECK(bench.run_of("b").error.find("routed to the broadcast caches") != std::string::npos);
}

TEST_CASE("beat: a route for those who ask for a queue is not for a schedule that names none") {
  Bench<MemoryPlaces> bench;
  bench.options.routing = read_routing("r.yaml", R"(
queues: {default: , asked: , high: {priority_range: [5, 9]}}
routes:
  - match: {queue_override: default}
    target: {type: queue, name: asked}
  - match: {task: high}
    target: {type: queue, name: high}
)",
                                       "default")
                              .routing;
  bench.put({bench.entry("none", "every:10s"), bench.entry("asks", "every:10s", {{"queue", "default"}}),
             bench.entry("high", "every:10s", {{"task", "high"}})});
  bench.run_until(*bench.beat(), bench.hands.now + 10s);
  const auto jobs_in = [&](const std::string& queue) {
    Ids names;
    for (const auto& one :
         bench.rig.places(bench.hands)
             .broker->fetch({.queues = {queue}, .limit = 9, .lease = 30s, .consumer = "test"}))
      names.push_back(envelope_from_wire(one.wire).headers.at("schedule-id"));
    return names;
  };
  CHECK(jobs_in("default") == Ids{"none"});
  CHECK(jobs_in("asked") == Ids{"asks"});
  CHECK(jobs_in("high") == Ids{"high"});
}

TEST_CASE("scheduler: one that is to sign and can only verify is refused at its start") {
  Config config;
  config.signing.algorithm = "ed25519";
  config.signing.public_keys = {{"v1", std::string(32, 'x')}};
  const auto failed = error_of([&] { beat_options(config, "one"); });
  CHECK(failed.status == 78);
  CHECK(failed.says("STEM_SIGNING_PRIVATE_KEYS"));
  CHECK_FALSE(beat_options(Config{}, "one").signer);
}
