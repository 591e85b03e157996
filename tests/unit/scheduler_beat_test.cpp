#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "error_of.hpp"
#include "scheduler/beat.hpp"
#include "scheduler/scheduler.hpp"
#include "storage_rig.hpp"
#include "worker/attempts.hpp"

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
/// Schedules in another system than jobs: nothing is written in one commit.
struct SplitPlaces : SqliteRig {
  SchedulePlaces places(const Clock& clock) {
    const auto storage = open_storage(config, clock);
    return {storage.broker, storage.results, open_storage(config_of(schedules), clock).results};
  }
  const std::string schedules = "memory://split-" + new_id(Clock::system().wall());
};

/// Both clocks moved by hand, so that locks end when the test says so.
struct Hands : Clock {
  WallTime wall() const override { return now; }
  SteadyTime steady() const override { return SteadyTime{} + std::chrono::hours{1000} + ((frozen ? *frozen : now) - begin); }
  std::optional<WallTime> frozen{};  // the steady clock stands still: as if no time had passed since the lock was renewed
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
    entry.since = entry.created_at = entry.updated_at = hands.now;
    return entry;
  }
  void put(const std::vector<ScheduleEntry>& entries) {
    auto book = this->book();
    book.commit({.revision = book.revision(), .put = entries, .remove = {}});
    hands.move(2ms);  // the edit's lock is gone
  }
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

#define EVERYWHERE(name) TEST_CASE_TEMPLATE(name, Rig, MemoryPlaces, SqlitePlaces, SplitPlaces)

EVERYWHERE("beat: each slot gets one job, at its time and not before") {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:10s"), bench.entry("b", "0 0 1 1 *")});
  const auto beat = bench.beat();
  const auto first = bench.hands.now - 2ms + 10s;
  bench.run_until(*beat, first - 1us);
  CHECK(bench.done().empty());
  bench.run_until(*beat, first);
  CHECK(bench.done() == Ids{slot_id("a", first)});
  bench.run_until(*beat, first + 35s);
  CHECK(bench.done() == Ids{slot_id("a", first), slot_id("a", first + 10s), slot_id("a", first + 20s), slot_id("a", first + 30s)});
  const auto booked = bench.book().find("a");
  REQUIRE(booked);
  CHECK(booked->run.runs == 4);
  CHECK(booked->run.slot == first + 30s);
  CHECK(booked->run.drift == 0s);
  CHECK(booked->run.misfires == 0);
  CHECK(beat->counters().published == 4);
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
  bench.hands.move(2ms);
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
    CHECK(run.slot == start + 30min);
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
  bench.beat()->turn();
  CHECK(bench.done() == Ids{slot_id("a", start + 24h * 365)});
}

EVERYWHERE("beat: once is once, also over restarts and for missed slots") {
  Bench<Rig> bench;
  const auto start = bench.hands.now;
  bench.put({bench.entry("a", "every:10m", {{"runOnce", true}}),
             bench.entry("b", {{"kind", "clocked"}, {"runAt", format_time(start + 5min)}})});
  bench.hands.now = start + 1h;
  bench.beat()->turn();
  bench.hands.now = start + 2h;
  bench.beat("two")->turn();
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
  CHECK(done.back() == slot_id("a", bench.hands.begin + std::chrono::floor<std::chrono::seconds>(bench.hands.now - bench.hands.begin)));
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

// The leader hangs after its lock has ended and wakes up while another leads: what it still has in mind must not be
// published, although the other's job was done long ago and its id is free again.
TEST_CASE_TEMPLATE("beat: a leader that hung publishes nothing after another has taken over", Rig, MemoryPlaces, SqlitePlaces) {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
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

TEST_CASE_TEMPLATE("beat: a leader whose lock ended and that gets it back reads anew what another did meanwhile", Rig, MemoryPlaces, SqlitePlaces) {
  Bench<Rig> bench;
  bench.put({bench.entry("a", "every:1m")});
  auto one = bench.beat("one"), two = bench.beat("two");
  one->turn();
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

TEST_CASE_TEMPLATE("beat: over the changes of the clocks, what is daily runs once a day", Rig, MemoryPlaces, SqlitePlaces) {
  Bench<Rig> bench;
  bench.options.lock_period = std::chrono::hours{6};  // not so many renewals
  for (const auto* day : {"2025-03-29T12:00:00Z", "2025-10-25T12:00:00Z"}) {
    bench.hands.now = parse_time(day);
    auto entry = bench.entry("d" + std::string(day).substr(5, 2), "30 2 * * *", {{"timezone", "Europe/Berlin"}});
    bench.put({entry});
    const auto before = bench.done().size();
    const auto beat = bench.beat(day);
    bench.run_until(*beat, parse_time(day) + std::chrono::hours{48});
    CHECK(bench.done().size() == before + 2);
    beat->resign();
    auto book = bench.book();
    book.commit({.revision = book.revision(), .put = {}, .remove = {entry.name}});
    bench.hands.move(2ms);
  }
  const auto done = bench.done();
  CHECK(done == Ids{"d03@2025-03-30T01:00:00.000Z", "d03@2025-03-31T00:30:00.000Z", "d10@2025-10-26T00:30:00.000Z", "d10@2025-10-27T01:30:00.000Z"});
}

TEST_CASE_TEMPLATE("broker: a guarded publication is all or nothing", Rig, MemoryPlaces, SqlitePlaces) {
  Bench<Rig> bench;
  auto places = bench.rig.places(bench.hands);
  REQUIRE(places.broker->publishes_with(*places.schedules));
  REQUIRE(places.schedules->compare_and_set({"lock", "mine", 10s}, 0));
  const auto version = places.schedules->get("lock")->version;
  const std::vector<Envelope> jobs{bench.rig.job("a"), bench.rig.job("b")};
  CHECK(places.broker->publish_guarded(jobs, {"lock", version}, {{"r", "1", {}}}) == 2);
  CHECK(places.schedules->get("r")->value == "1");
  CHECK(places.broker->publish_guarded(jobs, {"lock", version}, {{"r", "2", {}}}) == 0);
  CHECK(places.schedules->get("r")->value == "2");
  const std::vector<Envelope> more{bench.rig.job("c")};
  CHECK_FALSE(places.broker->publish_guarded(more, {"lock", version + 1}, {{"r", "3", {}}}));
  CHECK_FALSE(places.broker->publish_guarded(more, {"other", 1}, {{"r", "3", {}}}));
  bench.hands.move(11s);
  CHECK_FALSE(places.broker->publish_guarded(more, {"lock", version}, {{"r", "3", {}}}));
  CHECK(places.schedules->get("r")->value == "2");
  CHECK_FALSE(places.broker->find("c"));
}

TEST_CASE("broker: one whose store is another system does not bind publications to it, and says so") {
  Bench<SplitPlaces> bench;
  const auto places = bench.rig.places(bench.hands);
  CHECK_FALSE(places.broker->publishes_with(*places.schedules));
}

TEST_CASE("beat: with two systems, a slot that was published but not noted is not published again by the next leader") {
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
  const auto failed = error_of([&] { book.commit({.revision = before, .put = {bench.entry("b", "every:1m")}, .remove = {"a"}}); });
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

TEST_CASE("beat: 100,000 schedules cost no more than those that are due") {
  Bench<MemoryPlaces> bench;
  std::vector<ScheduleEntry> many;
  for (int i = 0; i < 100'000; ++i) many.push_back(bench.entry("s" + std::to_string(i), i < 10 ? Json("every:1m") : Json("0 0 1 1 *")));
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

TEST_CASE("scheduler: one that is to sign and can only verify is refused at its start") {
  Config config;
  config.signing.algorithm = "ed25519";
  config.signing.public_keys = {{"v1", std::string(32, 'x')}};
  const auto failed = error_of([&] { beat_options(config, "one"); });
  CHECK(failed.status == 78);
  CHECK(failed.says("STEM_SIGNING_PRIVATE_KEYS"));
  CHECK_FALSE(beat_options(Config{}, "one").signer);
}
