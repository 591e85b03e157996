#include <doctest/doctest.h>

#include "error_of.hpp"
#include "scheduler/scheduler.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

// On the machine's own clock: how long it sleeps is what is tested.

namespace {

struct Bench {
  Bench() { config.broker_url = "sqlite://" + (dir / "stem.db"); }
  ScheduleEntry entry(const std::string& name, const Json& schedule) {
    auto entry = schedule_entry_from({{"name", name}, {"task", "t"}, {"schedule", schedule}});
    entry.since = entry.created_at = entry.updated_at = Clock::system().wall();
    return entry;
  }
  void put(const ScheduleEntry& entry) {
    ScheduleBook book(open_schedule_places(config).schedules);
    book.commit({.revision = book.revision(), .put = {entry}, .remove = {}});
  }
  /// Waits for the next job; how long after its slot it was there.
  Duration lateness() {
    auto places = open_schedule_places(config);
    const auto deadline = Clock::system().steady() + 10s;
    for (;;) {
      readable(places.broker->wake_fd(), 1000);
      places.broker->clear_wake();
      const auto got =
          places.broker->fetch({.queues = {"default"}, .limit = 1, .lease = 30s, .consumer = "test"});
      if (!got.empty())
        return Clock::system().wall() -
               parse_time(envelope_from_wire(got[0].wire).headers.at("schedule-slot"));
      if (Clock::system().steady() > deadline) throw std::runtime_error("no job came");
    }
  }

  TempDir dir;
  Config config;
};

}  // namespace

TEST_CASE(
    "scheduler: it wakes up for a new schedule at once, and for its slot in time, not at the next tick") {
  Bench bench;
  Scheduler scheduler(beat_options(bench.config, "s"), open_schedule_places(bench.config));
  scheduler.start();
  REQUIRE(readable(scheduler.events().fd(), 5000));
  bench.put(bench.entry("a", "every:700ms"));
  // Neither the lock (every 5 s) nor anything else has a reason to wake it up then.
  CHECK(bench.lateness() < 400ms);
  CHECK(scheduler.beat().counters().leading);
  const auto began = Clock::system().steady();
  scheduler.stop();
  while (!scheduler.finished()) readable(scheduler.events().fd(), 100), scheduler.events().clear();
  CHECK(Clock::system().steady() - began < 1s);
  // The lead was given up: the next one need not wait for the lock to end.
  Scheduler next(beat_options(bench.config, "n"), open_schedule_places(bench.config));
  next.start();
  const auto deadline = Clock::system().steady() + 5s;
  while (!next.beat().counters().leading && Clock::system().steady() < deadline)
    readable(next.events().fd(), 100), next.events().clear();
  CHECK(next.beat().counters().leading);
}

TEST_CASE("scheduler: schedules may be in another store than jobs") {
  Bench bench;
  bench.config.schedule_store_url = "sqlite://" + (bench.dir / "schedules.db");
  bench.put(bench.entry("a", "every:200ms"));
  const auto places = open_schedule_places(bench.config);
  CHECK_FALSE(places.broker->publishes_with(*places.schedules));
  Scheduler scheduler(beat_options(bench.config, "s"), places);
  scheduler.start();
  CHECK(bench.lateness() < 5s);
  CHECK(ScheduleBook(places.schedules).find("a")->entry.name == "a");
}

TEST_CASE("scheduler: a store that cannot be used ends it, with the reason") {
  Bench bench;
  Scheduler scheduler(beat_options(bench.config, "s"), open_schedule_places(bench.config));
  std::filesystem::remove(bench.dir / "stem.db");
  scheduler.start();
  const auto deadline = Clock::system().steady() + 10s;
  while (!scheduler.link().trouble() && Clock::system().steady() < deadline)
    readable(scheduler.events().fd(), 100), scheduler.events().clear();
  REQUIRE(scheduler.link().trouble());
  CHECK(std::string(scheduler.link().trouble()->what()).find("stem.db") != std::string::npos);
}
