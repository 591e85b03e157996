#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/token_bucket.hpp"
#include "error_of.hpp"
#include "hand_clock.hpp"
#include "places.hpp"
#include "worker/attempts.hpp"
#include "worker/rate_gate.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

EnqueueOptions unique_for(Duration window, const std::string& key = {},
                          UniqueUntil until = UniqueUntil::ended) {
  EnqueueOptions options;
  options.unique_for = window;
  options.unique_key = key;
  options.unique_until = until;
  return options;
}

}  // namespace

EVERYWHERE("options: a job that is too late is cancelled, and its record says so") {
  Plant<Place> plant;
  std::atomic<int> ran{0};
  plant.tasks.add("late", [&](TaskContext&) { ++ran; });
  EnqueueOptions soon;
  soon.expires = 1ms;
  const auto late = plant.stem().enqueue("late", {}, soon);
  poll(nullptr, 0, 5);
  soon.expires = 1h;
  const auto early = plant.stem().enqueue("late", {}, soon);
  auto& engine = plant.work();
  const auto result = plant.end_of(late);
  CHECK(result.state == TaskState::cancelled);
  CHECK(result.failure->type == "TaskExpired");
  CHECK(result.meta["stem.expired"] == true);
  CHECK(result.meta.contains("expiredAt"));
  CHECK(plant.end_of(early).state == TaskState::succeeded);
  CHECK(ran == 1);
  Plant<Place>::wait_until([&] { return engine.counters().expired == 1; });
  CHECK(engine.counters().cancelled == 0);
  CHECK(plant.storage().broker->depths().empty());
}

TEST_CASE("options: what has succeeded once is not too late when it is handed out again") {
  Plant<SplitPlace> plant;  // where the acknowledgement may be lost behind the record
  plant.tasks.add("late", [](TaskContext&) { return 1; });
  Job job{"late"};
  job.options.expires = 1ms;
  job.options.unique_for = 1h;
  const auto id = plant.stem().submit({job}).at(0).id;
  const auto now = Clock::system().wall();
  Result done{id, TaskState::succeeded, 7, std::nullopt, 0, {{"completedAt", format_time(now)}}};
  plant.storage().results->put({{result_key(id), to_wire(done), 1h}});
  poll(nullptr, 0, 5);
  auto& engine = plant.work();
  Plant<SplitPlace>::wait_until([&] { return !plant.storage().broker->find(id); });
  CHECK(plant.end_of(id).value == 7);
  CHECK(engine.counters().expired == 0);
}

TEST_CASE("options: a job expires while it waits in the worker's own line, too") {
  Plant<MemoryPlace> plant;
  plant.config.concurrency = 1;
  std::atomic<bool> go{false};
  plant.tasks.add("hold", [&](TaskContext&) { Plant<MemoryPlace>::wait_until([&] { return go.load(); }); });
  plant.tasks.add("late", [](TaskContext&) {});
  const auto first = plant.stem().enqueue("hold");
  EnqueueOptions soon;
  soon.expires = 200ms;
  const auto late = plant.stem().enqueue("late", {}, soon);
  auto& engine = plant.work();
  Plant<MemoryPlace>::wait_until([&] { return engine.inflight() == 2; });
  poll(nullptr, 0, 250);
  go = true;
  CHECK(plant.end_of(first).state == TaskState::succeeded);
  CHECK(plant.end_of(late).state == TaskState::cancelled);
}

TEST_CASE("options: a task's own expiry counts from when its job may begin") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {}, {.expires = 100ms});
  const auto late = plant.stem().enqueue("t");
  EnqueueOptions later;
  later.delay = 150ms;
  const auto delayed = plant.stem().enqueue("t", {}, later);
  EnqueueOptions long_lived;
  long_lived.expires = 1h;
  const auto asked = plant.stem().enqueue("t", {}, long_lived);
  poll(nullptr, 0, 110);
  plant.work();
  CHECK(plant.end_of(late).state == TaskState::cancelled);
  CHECK(plant.end_of(delayed).state == TaskState::succeeded);
  CHECK(plant.end_of(asked).state == TaskState::succeeded);
}

TEST_CASE("options: what makes no sense is refused before anything is enqueued") {
  Plant<MemoryPlace> plant;
  const auto refusal = [&](auto set) {
    Job job{"t"};
    set(job.options);
    return error_of([&] { plant.stem().submit({job}); });
  };
  CHECK(refusal([](auto& o) {
          o.expires_at = parse_time("2020-01-01T00:00:00Z");
        }).says("before it may begin"));
  CHECK(refusal([](auto& o) { o.expires = 0ms; }).says("expires must be at least 1ms"));
  CHECK(refusal([](auto& o) { o.result_ttl = -1s; }).says("result_ttl must be at least 1ms"));
  CHECK(refusal([](auto& o) { o.unique_for = 0s; }).says("unique_for must be at least 1ms"));
  CHECK(refusal([](auto& o) { o.unique_key = "k"; }).says("says nothing without unique_for"));
  CHECK(refusal([](auto& o) { o.unique_for = 1s, o.unique_key = "\t"; }).status == 64);
  CHECK(refusal([](auto& o) { o.retry = RetryPolicy{2s, 1s}; }).status == 78);
  CHECK(refusal([](auto& o) {
          o.delay = 1h;
          o.expires_at = Clock::system().wall() + 1min;
        }).says("before it may begin"));
  CHECK(plant.storage().broker->depths().empty());
  Registry tasks;
  const auto registered = [&](TaskOptions options) {
    return error_of([&] {
      tasks.add_handler(
          "x", [](TaskContext&) { return Done{}; }, options);
    });
  };
  CHECK(registered({.rate_limit = RateLimit{0, 1s}}).status == 78);
  CHECK(registered({.expires = 0s}).says("task x: expires must be above 0"));
  CHECK(registered({.result_ttl = -1s}).says("result_ttl"));
  CHECK(registered({.unique_for = 0s}).says("unique_for"));
}

EVERYWHERE(
    "options: a record is kept as long as the job or its task asks for, and not at all where it is ignored") {
  Plant<Place> plant;
  plant.tasks.add("t", [](TaskContext&) { return 5; });
  plant.tasks.add("short", [](TaskContext&) {}, {.result_ttl = 2h});
  plant.tasks.add("mute", [](TaskContext&) { return 5; }, {.ignore_result = true});
  plant.tasks.add("fails",
                  [](TaskContext& job) -> Outcome {
                    if (job.attempt() == 0) return Retry{"once more"};
                    return Dead{"no"};
                  },
                  {.max_retries = 1, .ignore_result = true});
  EnqueueOptions day, mute;
  day.result_ttl = 100h;
  mute.ignore_result = true;
  const auto kept = plant.stem().enqueue("t", {}, day), normal = plant.stem().enqueue("t"),
             brief = plant.stem().enqueue("short");
  const auto muted = plant.stem().enqueue("t", {}, mute), task_muted = plant.stem().enqueue("mute"),
             failed = plant.stem().enqueue("fails");
  auto& engine = plant.work();
  const auto ttl = [&](const std::string& id) {
    CHECK(plant.end_of(id).state == TaskState::succeeded);
    return *plant.storage().results->get(result_key(id))->expires - Clock::system().wall();
  };
  CHECK(ttl(kept) > 99h);
  CHECK(ttl(normal) < 24h);
  CHECK(ttl(brief) < 2h);
  CHECK(plant.end_of(failed).state == TaskState::failed);
  Plant<Place>::wait_until([&] { return engine.counters().done == 5; });
  CHECK_FALSE(plant.stem().wait(muted, 10s));
  CHECK_FALSE(plant.stem().result(task_muted));
}

TEST_CASE("options: a job's own retry policy wins over the task's, and it over the worker's") {
  const AttemptRules rules{"n", 20, {1s, 1s, 1, 0}, 1h};
  Envelope envelope;
  TaskOptions options;
  CHECK(retry_policy(envelope, options, rules).base == 1s);
  options.retry = RetryPolicy{2s, 2s, 1, 0};
  CHECK(retry_policy(envelope, options, rules).base == 2s);
  envelope.meta["stem.retryPolicy"] = {{"defaultDelayMs", 3000}};
  CHECK(retry_policy(envelope, options, rules).base == 3s);
}

EVERYWHERE("unique: a second job of the same key is not enqueued while the first is there") {
  Plant<Place> plant;
  std::atomic<int> ran{0};
  plant.tasks.add("once", [&](TaskContext&) { ++ran; });
  auto& stem = plant.stem();
  const auto submit = [&](Json args, const EnqueueOptions& options) {
    return stem.submit({{"once", std::move(args), options}}).front();
  };
  const auto first = submit({{"n", 1}}, unique_for(1h));
  CHECK_FALSE(first.duplicate);
  const auto second = submit({{"n", 1}}, unique_for(1h));
  CHECK(second.duplicate);
  CHECK(second.id == first.id);
  CHECK_FALSE(submit({{"n", 2}}, unique_for(1h)).duplicate);
  CHECK_FALSE(submit({{"n", 1}}, unique_for(1h, "other")).duplicate);
  CHECK_FALSE(submit({{"n", 1}}, {}).duplicate);
  plant.work();
  CHECK(plant.end_of(first.id).state == TaskState::succeeded);
  // The broker may still hold it for a moment where the record is written first.
  Plant<Place>::wait_until([&] { return !plant.storage().broker->find(first.id); });
  const auto third = submit({{"n", 1}}, unique_for(1h));
  CHECK_FALSE(third.duplicate);
  CHECK(plant.end_of(third.id).state == TaskState::succeeded);
}

EVERYWHERE("unique: a key may be held for its whole window, and is free after it") {
  Plant<Place> plant;
  plant.tasks.add("once", [](TaskContext&) {});
  const auto submit = [&] {
    return plant.stem().submit({{"once", {}, unique_for(1s, "k", UniqueUntil::window)}}).front();
  };
  const auto begin = std::chrono::steady_clock::now();
  const auto first = submit();
  plant.work();
  plant.end_of(first.id);
  const auto second = submit();
  if (std::chrono::steady_clock::now() - begin < 900ms) CHECK(second.duplicate);
  Plant<Place>::wait_until([&] { return !submit().duplicate; });
  CHECK(std::chrono::steady_clock::now() - begin >= 1s);
}

EVERYWHERE("unique: a dead letter keeps nobody away, a delayed job does") {
  Plant<Place> plant;
  plant.tasks.add("dies", [](TaskContext&) -> Outcome { return Dead{"no"}; });
  auto options = unique_for(1h, "k");
  options.delay = 300ms;
  const auto first = plant.stem().submit({{"dies", {}, options}}).front();
  CHECK(plant.stem().submit({{"dies", {}, unique_for(1h, "k")}}).front().duplicate);
  plant.work();
  CHECK(plant.end_of(first.id).state == TaskState::failed);
  Plant<Place>::wait_until(
      [&] { return plant.storage().broker->find(first.id)->state == JobView::State::dead; });
  CHECK_FALSE(plant.stem().submit({{"dies", {}, unique_for(1h, "k")}}).front().duplicate);
}

EVERYWHERE("unique: of eight producers at once one is first, and all are told its id") {
  Plant<Place> plant;
  std::mutex mutex;
  std::vector<Enqueued> all;
  for (int round = 0; round < 5; ++round) {
    all.clear();
    std::vector<std::thread> producers;
    for (int i = 0; i < 8; ++i)
      producers.emplace_back([&] {
        Stem own(plant.config);
        for (int n = 0; n < 5; ++n) {
          const auto one = own.submit(
              {{"t", {{"round", round}}, unique_for(1h)}, {"t", {{"round", round}}, unique_for(1h)}});
          const std::lock_guard lock(mutex);
          all.insert(all.end(), one.begin(), one.end());
        }
      });
    for (auto& producer : producers) producer.join();
    std::set<std::string> ids;
    int first = 0;
    for (const auto& one : all) {
      ids.insert(one.id);
      first += !one.duplicate;
    }
    CHECK(ids.size() == 1);
    CHECK(first == 1);
  }
  CHECK(plant.storage().broker->depths().at(0).ready == 5);
}

TEST_CASE(
    "unique: where broker and store are two systems, a producer that died before it published loses "
    "nothing") {
  Plant<SplitPlace> plant;
  // As a producer leaves it that dies between its two steps.
  const auto key = "unique:t/k";
  plant.storage().results->put({{key, R"({"job":"ghost","until":"ended","published":false})", 1h}});
  const auto next = plant.stem().submit({{"t", {{"n", 1}}, unique_for(1h, "k")}}).front();
  CHECK(next.id == "ghost");
  CHECK(plant.storage().broker->find("ghost"));
  CHECK(plant.stem().submit({{"t", {{"n", 1}}, unique_for(1h, "k")}}).front().duplicate);
  CHECK(plant.storage().broker->depths().at(0).ready == 1);
}

TEST_CASE(
    "unique: where they are two systems, a job that is published again after its end is not run again") {
  Plant<SplitPlace> plant;
  std::atomic<int> ran{0};
  plant.tasks.add("t", [&](TaskContext&) { ++ran; });
  const auto first = plant.stem().submit({{"t", {}, unique_for(1h, "k")}}).front();
  const auto envelope = envelope_from_wire(plant.storage().broker->find(first.id)->wire);
  auto& engine = plant.work();
  plant.end_of(first.id);
  Plant<SplitPlace>::wait_until([&] { return !plant.storage().broker->find(first.id); });
  plant.storage().broker->publish(std::span(&envelope, 1));
  Plant<SplitPlace>::wait_until([&] { return !plant.storage().broker->find(first.id); });
  CHECK(ran == 1);
  Plant<SplitPlace>::wait_until([&] { return engine.counters().done == 1; });
  // Another job may have its id later.
  auto again = unique_for(1h, "k");
  again.id = first.id;
  CHECK_FALSE(plant.stem().submit({{"t", {}, again}}).front().duplicate);
  Plant<SplitPlace>::wait_until([&] { return ran == 2; });
}

TEST_CASE("unique: no arguments are the same as empty ones") {
  Plant<MemoryPlace> plant;
  CHECK_FALSE(plant.stem().submit({{"t", Json(), unique_for(1h)}}).front().duplicate);
  CHECK(plant.stem().submit({{"t", Json::object(), unique_for(1h)}}).front().duplicate);
}

EVERYWHERE("unique: who enqueues the same job again, with its id, is not told of another") {
  Plant<Place> plant;
  auto options = unique_for(1h, "k");
  options.id = "mine";
  for (int i = 0; i < 2; ++i) {
    const auto one = plant.stem().submit({{"t", {}, options}}).front();
    CHECK(one.id == "mine");
    CHECK_FALSE(one.duplicate);
  }
  CHECK(plant.storage().broker->depths().at(0).ready == 1);
}

TEST_CASE("unique: a producer that knows the tasks keeps to what they say") {
  Plant<MemoryPlace> plant;
  plant.tasks.add("t", [](TaskContext&) {}, {.unique_for = 1h});
  CHECK_FALSE(plant.stem().submit({{"t"}}).front().duplicate);
  plant.stem().know(plant.tasks);
  CHECK_FALSE(plant.stem().submit({{"t"}}).front().duplicate);
  CHECK(plant.stem().submit({{"t"}}).front().duplicate);
}

TEST_CASE("rate gate: as many as the bucket holds, then in turns") {
  Plant<MemoryPlace> plant;
  const auto storage = plant.storage();
  RateGate one(*storage.results, Clock::system(), "ns"), other(*storage.results, Clock::system(), "ns");
  const RateLimit limit{6, 1min};
  const auto before = Clock::system().wall();
  int passed = 0;
  std::vector<WallTime> turns;
  for (int i = 0; i < 10; ++i)
    for (auto* gate : {&one, &other}) {
      const auto turn = gate->pass("t", limit);
      passed += !turn;
      if (turn && gate == &one) turns.push_back(*turn);
    }
  CHECK(passed == 6);
  REQUIRE(turns.size() > 2);
  CHECK(turns[0] >= before + 9s);
  for (std::size_t i = 1; i < turns.size(); ++i) CHECK(turns[i] - turns[i - 1] == 10s);
  CHECK_FALSE(one.pass("another", limit));
  CHECK_FALSE(RateGate(*storage.results, Clock::system(), "elsewhere").pass("t", limit));
}

TEST_CASE("rate gate: those whose turn is far away come again at different times") {
  Plant<MemoryPlace> plant;
  const auto storage = plant.storage();
  RateGate gate(*storage.results, Clock::system(), "ns");
  const RateLimit limit{1, 1min};
  const auto before = Clock::system().wall();
  std::vector<WallTime> turns;
  for (int i = 0; i < 1000; ++i)
    if (const auto turn = gate.pass("t", limit)) turns.push_back(*turn);
  REQUIRE(turns.size() > 990);
  std::map<std::int64_t, int> in_minute;
  for (const auto turn : turns) {
    CHECK(turn - before < 62min);
    ++in_minute[(turn - before) / 1min];
  }
  for (const auto& [minute, count] : in_minute) CHECK_MESSAGE(count < 50, minute);
  for (std::size_t i = 70; i < turns.size(); ++i) CHECK(turns[i] - before > 29min);
}

TEST_CASE("rate gate: who misses a token by a moment has it, and only one has") {
  Plant<MemoryPlace> plant;
  const auto storage = plant.storage();
  HandClock clock;
  clock.move(Clock::system().wall() - clock.wall());
  RateGate gate(*storage.results, clock, "ns");
  const RateLimit limit{1, 1min};
  const auto first = clock.wall();
  CHECK_FALSE(gate.pass("t", limit));
  CHECK(gate.pass("t", limit) == first + 1min);
  CHECK(gate.pass("t", limit) == first + 2min);
  clock.move(1min - 1ms);
  CHECK(gate.pass("t", limit) == first + 1min);
  CHECK(gate.pass("t", limit) == first + 3min);
  clock.move(1ms);
  CHECK_FALSE(gate.pass("t", limit));
  // Namespaces and names may hold colons.
  RateGate other(*storage.results, clock, "ns:t");
  RateGate ours(*storage.results, clock, "ns");
  CHECK_FALSE(ours.pass("t:u", limit));
  CHECK_FALSE(other.pass("u", limit));
}

EVERYWHERE("rate limit: three workers together keep to it, and other tasks of the queue go on") {
  Plant<Place> plant;
  std::mutex mutex;
  std::vector<std::chrono::steady_clock::time_point> begun;
  std::atomic<int> others{0};
  plant.tasks.add("limited",
                  [&](TaskContext& job) {
                    CHECK(job.attempt() == 0);
                    const std::lock_guard lock(mutex);
                    begun.push_back(std::chrono::steady_clock::now());
                  },
                  {.rate_limit = RateLimit{20, 1s, 5}});
  plant.tasks.add("free", [&](TaskContext&) { ++others; });
  std::vector<Job> jobs(45, Job{"limited"});
  jobs.resize(245, Job{"free"});
  const auto ids = plant.stem().enqueue(jobs);
  for (int i = 0; i < 3; ++i) plant.work();
  Plant<Place>::wait_until([&] { return others == 200; });
  {
    const std::lock_guard lock(mutex);
    CHECK(begun.size() < 45);
  }
  Plant<Place>::wait_until([&] {
    const std::lock_guard lock(mutex);
    return begun.size() == 45;
  });
  std::sort(begun.begin(), begun.end());
  // In no stretch of time more than the burst and what it brings; tokens are used within `token_life`.
  for (std::size_t i = 0; i < begun.size(); ++i)
    for (std::size_t j = i; j < begun.size(); ++j) {
      const double length = std::chrono::duration<double>(begun[j] - begun[i] + RateGate::token_life).count();
      CHECK(static_cast<double>(j - i + 1) <= 5 + 20 * length + 1);
    }
  CHECK(begun.back() - begun.front() >= 1900ms);
  std::uint64_t limited = 0, started = 0;
  for (const auto& engine : plant.engines) {
    limited += engine->counters().limited;
    started += engine->counters().started;
  }
  CHECK(started == 245);
  CHECK(limited >= 30);
  CHECK(limited < 2000);  // no job spins
}

TEST_CASE("rate limit: a quick task takes tokens in batches") {
  struct Counting : Store {
    explicit Counting(std::shared_ptr<Store> store) : real(std::move(store)) {}
    std::optional<StoreEntry> get(const std::string& key) override { return ++calls, real->get(key); }
    bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override {
      return real->put_guarded(writes, guards);
    }
    bool erase(const std::string& key) override { return real->erase(key); }
    std::vector<StoreEntry> list(const std::string& p, std::size_t n, const std::string& a) override {
      return real->list(p, n, a);
    }
    std::optional<StoreEntry> await(const std::string& k, std::int64_t v, Duration t) override {
      return real->await(k, v, t);
    }
    void stop_waiting() override { real->stop_waiting(); }
    std::size_t sweep() override { return real->sweep(); }
    std::shared_ptr<Store> real;
    int calls = 0;
  };
  Plant<MemoryPlace> plant;
  Counting store(plant.storage().results);
  RateGate gate(store, Clock::system(), "ns");
  int passed = 0;
  for (int i = 0; i < 20'000; ++i) passed += !gate.pass("t", {100'000, 1s});
  CHECK(passed == 20'000);
  CHECK(store.calls < 500);
}

TEST_CASE("rate limit: without the store nothing limited begins, and it is tried again") {
  struct Broken : Store {
    std::optional<StoreEntry> get(const std::string&) override { throw Error(Exit::unavailable, "gone"); }
    bool put_guarded(const std::vector<StoreWrite>&, const std::vector<StoreGuard>&) override { return true; }
    bool erase(const std::string&) override { return false; }
    std::vector<StoreEntry> list(const std::string&, std::size_t, const std::string&) override { return {}; }
    std::optional<StoreEntry> await(const std::string&, std::int64_t, Duration) override { return {}; }
    void stop_waiting() override {}
    std::size_t sweep() override { return 0; }
  };
  Plant<MemoryPlace> plant;
  plant.tasks.add("limited", [](TaskContext&) {}, {.rate_limit = RateLimit{10, 1s}});
  plant.tasks.add("free", [](TaskContext&) {});
  auto storage = plant.storage();
  const auto ids = plant.stem().enqueue({{"limited"}, {"free"}});
  storage.results = std::make_shared<Broken>();
  storage.orders = plant.storage().results;
  Engine engine(engine_options(plant.config), plant.tasks, storage);
  engine.start();
  Plant<MemoryPlace>::wait_until([&] { return engine.counters().done == 1; });
  Plant<MemoryPlace>::wait_until([&] {
    const auto view = plant.storage().broker->find(ids[0]);
    return view && view->state == JobView::State::delayed;
  });
  CHECK(plant.storage().broker->find(ids[0])->attempt == 0);
  engine.halt();
}
