#include <doctest/doctest.h>

#include "core/id.hpp"
#include "cut_broker.hpp"
#include "error_of.hpp"
#include "interposed_store.hpp"
#include "scheduler/beat.hpp"
#include "storage/open.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// Both clocks moved by hand.
struct Hands : Clock {
  WallTime wall() const override { return now; }
  SteadyTime steady() const override { return SteadyTime{} + 1000h + (now - begin); }
  const WallTime begin = parse_time("2025-01-02T00:00:00Z");
  WallTime now = begin;
};

/// Schedulers on a memory broker, and what they say of themselves.
struct Rig {
  Hands hands;
  Config config;
  Storage storage;

  Rig() {
    config.broker_url = "memory://beat-" + new_id(Clock::system().wall());
    storage = open_storage(config, hands);
  }
  std::unique_ptr<Beat> beat(const char* title = "one") {
    BeatOptions options;
    options.title = title;
    return std::make_unique<Beat>(options, SchedulePlaces{storage.broker, storage.results, storage.results},
                                  hands);
  }
  void put(const std::string& name, Json more = Json::object()) {
    Json object{{"name", name}, {"task", "t"}, {"schedule", {{"kind", "interval"}, {"every", "1m"}}}};
    object.update(more);
    auto entry = schedule_entry_from(object);
    entry.since = entry.created_at = entry.updated_at = hands.wall();
    ScheduleBook book(storage.results, hands);
    book.commit({.revision = book.revision(), .put = {entry}, .remove = {}});
  }
  static void settle(Beat& beat) {
    for (int i = 0; i < 20; ++i)
      if (beat.turn() > 0s) return;
  }
};

MetricSnapshot look(const Beat& beat) {
  MetricSnapshot snapshot;
  beat.measure(snapshot);
  return snapshot;
}

double value(const Beat& beat, const char* name, const MetricPoint::Labels& labels = {}) {
  const auto snapshot = look(beat);
  const auto* point = snapshot.find(name, labels);
  return point ? point->value : -1;
}

}  // namespace

TEST_CASE("metrics: what a schedule publishes is counted, with how late it was") {
  Rig rig;
  rig.put("each");
  const auto beat = rig.beat();
  Rig::settle(*beat);
  CHECK(value(*beat, "stem.scheduler.leading") == 1);
  CHECK(value(*beat, "stem.scheduler.schedules") == 1);
  rig.hands.now += 60s + 20ms;
  Rig::settle(*beat);
  const MetricPoint::Labels each{{"schedule", "each"}};
  CHECK(value(*beat, "stem.scheduler.dispatch.attempts", each) == 1);
  CHECK(value(*beat, "stem.scheduler.dispatch.success", each) == 1);
  CHECK(value(*beat, "stem.scheduler.dispatch.failed", each) == 0);
  const auto snapshot = look(*beat);
  const auto* drift = snapshot.find("stem.scheduler.drift", each);
  REQUIRE(drift);
  CHECK(drift->spread.count == 1);
  CHECK(drift->spread.sum == doctest::Approx(0.02));
  CHECK(snapshot.find("stem.scheduler.dispatch.duration", each)->spread.count == 1);
  CHECK(snapshot.find("stem.scheduler.overdue.lag", {})->spread.count == 0);
}

TEST_CASE("metrics: a schedule that was due long ago is overdue until it has run") {
  Rig rig;
  rig.put("each");
  rig.put("other", {{"schedule", {{"kind", "interval"}, {"every", "1h"}}}});
  const auto beat = rig.beat();
  Rig::settle(*beat);
  rig.hands.now += 90s;
  beat->turn();
  CHECK(value(*beat, "stem.scheduler.due.entries") == 1);
  CHECK(value(*beat, "stem.scheduler.overdue.entries") == 1);
  Rig::settle(*beat);
  beat->turn();
  CHECK(value(*beat, "stem.scheduler.due.entries") == 0);
  CHECK(value(*beat, "stem.scheduler.overdue.entries") == 0);
  const auto snapshot = look(*beat);
  const auto& lag = snapshot.find("stem.scheduler.overdue.lag", {})->spread;
  CHECK(lag.count == 1);
  CHECK(lag.max == doctest::Approx(30));
}

TEST_CASE("metrics: who leads, and who looks in vain") {
  Rig rig;
  const auto one = rig.beat("one"), two = rig.beat("two");
  one->turn();
  two->turn();
  CHECK(value(*one, "stem.scheduler.lock.acquired") == 1);
  CHECK(value(*one, "stem.scheduler.lock.contended") == 0);
  CHECK(value(*two, "stem.scheduler.lock.acquired") == 0);
  CHECK(value(*two, "stem.scheduler.lock.contended") >= 1);
  CHECK(value(*two, "stem.scheduler.leading") == 0);
  // The first hangs, the second takes over, the first comes back and finds that out.
  rig.hands.now += 20s;
  two->turn();
  rig.hands.now += 20s;
  two->turn();
  CHECK(value(*two, "stem.scheduler.lock.acquired") == 1);
  one->turn();
  CHECK(value(*one, "stem.scheduler.lock.renew_failed") == 1);
  CHECK(value(*one, "stem.scheduler.leading") == 0);
}

TEST_CASE("metrics: a job that cannot be published fails under its schedule") {
  Rig rig;
  rig.put("each");
  BeatOptions options;
  // Routed to everyone, which what a schedule enqueues cannot be.
  options.routing.broadcasts["all"] = 1min;
  options.routing.routes.push_back(
      {.tasks = {"*"}, .headers = {}, .queue = {}, .to_everyone = true, .target = "all", .priority = {}});
  Beat beat(options, SchedulePlaces{rig.storage.broker, rig.storage.results, rig.storage.results}, rig.hands);
  Rig::settle(beat);
  rig.hands.now += 60s;
  Rig::settle(beat);
  const MetricPoint::Labels each{{"schedule", "each"}};
  CHECK(value(beat, "stem.scheduler.dispatch.attempts", each) == 1);
  CHECK(value(beat, "stem.scheduler.dispatch.failed", each) == 1);
  CHECK(value(beat, "stem.scheduler.dispatch.success", each) == 0);
}

TEST_CASE(
    "metrics: what a broker does not take is overdue all the time, tried again, and no failure of a run") {
  Rig rig;
  rig.put("each");
  const auto broker = std::make_shared<CutBroker>(rig.storage.broker);
  Beat beat({}, {broker, rig.storage.results, rig.storage.results}, rig.hands);
  Rig::settle(beat);
  broker->cut = true;
  rig.hands.now += 90s;
  const MetricPoint::Labels each{{"schedule", "each"}};
  for (int tries = 1; tries <= 3; ++tries) {
    CHECK(error_of([&] { beat.turn(); }).status == 69);
    CHECK(value(beat, "stem.scheduler.due.entries") == 1);
    CHECK(value(beat, "stem.scheduler.overdue.entries") == 1);
    CHECK(value(beat, "stem.scheduler.commit_failed") == tries);
    CHECK(value(beat, "stem.scheduler.dispatch.failed", each) <= 0);
    CHECK(value(beat, "stem.scheduler.dispatch.attempts", each) <= 0);
  }
  broker->cut = false;
  Rig::settle(beat);
  beat.turn();
  CHECK(value(beat, "stem.scheduler.overdue.entries") == 0);
  CHECK(value(beat, "stem.scheduler.dispatch.attempts", each) == 1);
  CHECK(value(beat, "stem.scheduler.dispatch.success", each) == 1);
  CHECK(value(beat, "stem.scheduler.dispatch.failed", each) == 0);
}

TEST_CASE("metrics: one that does not reach the store leads until its lock ends, and no longer") {
  Rig rig;
  const auto store = std::make_shared<InterposedStore>(rig.storage.results);
  Beat beat({}, {rig.storage.broker, store, store}, rig.hands);
  Rig::settle(beat);
  const MetricPoint::Labels labels{{"worker", "one"}, {"namespace", "stem"}};
  const auto leading = [&] {
    MetricSnapshot snapshot;
    beat.measure(snapshot, labels);
    const auto* point = snapshot.find("stem.scheduler.leading", labels);
    return point ? point->value : -1;
  };
  CHECK(leading() == 1);
  store->before = [](const auto&) { throw Error(Exit::unavailable, "the store has gone"); };
  rig.hands.now += 10s;  // of 15
  CHECK(error_of([&] { beat.turn(); }).status == 69);
  CHECK(leading() == 1);
  rig.hands.now += 5s;
  CHECK(leading() == 0);
  CHECK(error_of([&] { beat.turn(); }).status == 69);
  CHECK(leading() == 0);
  store->before = nullptr;
  Rig::settle(beat);
  CHECK(leading() == 1);
}

TEST_CASE("metrics: no more than two hundred schedules are told apart") {
  ScheduleSeriesBook book;
  for (std::size_t i = 0; i < ScheduleSeriesBook::most + 7; ++i)
    ++book.of("schedule-" + std::to_string(i)).attempts;
  MetricSnapshot snapshot;
  book.measure(snapshot);
  CHECK(snapshot.find("stem.scheduler.dispatch.attempts")->points.size() == ScheduleSeriesBook::most + 1);
  CHECK(snapshot.find("stem.scheduler.dispatch.attempts", {{"schedule", "other"}})->value == 7);
}
