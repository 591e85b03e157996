#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <future>
#include <stem/error.hpp>

#include "awaited_record.hpp"
#include "core/id.hpp"
#include "cut_broker.hpp"
#include "worker/engine.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// A worker on a memory broker of its own.
struct Rig {
  Registry tasks;
  Config config;
  Storage storage;
  std::unique_ptr<Engine> engine;

  Rig() {
    static std::atomic<int> count{0};
    config.broker_url = "memory://engine-" + std::to_string(++count);
    config.concurrency = 2;
    config.retry = {1ms, 1ms, 1, 0};
    config.node = "rig";
    storage = open_storage(config);
  }

  std::string enqueue(const std::string& task, Json args = Json::object(), int max_retries = 0,
                      const std::string& queue = "default") {
    Envelope envelope;
    envelope.id = new_id(Clock::system().wall());
    envelope.name = task;
    envelope.args = std::move(args);
    envelope.enqueued_at = Clock::system().wall();
    envelope.max_retries = max_retries;
    envelope.queue = queue;
    storage.broker->publish(std::span(&envelope, 1));
    return envelope.id;
  }

  Engine& start() {
    engine = std::make_unique<Engine>(engine_options(config), tasks, storage);
    engine->start();
    return *engine;
  }

  /// The record of a job once it satisfies `wanted`.
  template <class Wanted>
  Result record(const std::string& id, Wanted wanted) {
    return awaited_record(*storage.results, id, wanted);
  }
  Result end_of(const std::string& id) {
    return record(id, [](const Result& result) { return is_final(result.state); });
  }

  std::vector<DeadJob> dead() { return storage.broker->dead_letters("", 100); }

  /// Waits for the engine's events until `holds`.
  template <class Holds>
  void wait_until(Holds holds) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!holds()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      pollfd fd{engine->events().fd(), POLLIN, 0};
      poll(&fd, 1, 50);
      engine->events().clear();
    }
  }

  ~Rig() {
    if (engine) engine->halt();
  }
};

/// A gate that handlers wait at.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  int arrived = 0;
  bool open = false;

  void pass() {
    std::unique_lock lock(mutex);
    ++arrived;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, 20s, [&] { return arrived >= count; }));
  }
  void release() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};

}  // namespace

TEST_CASE("engine: a job's value becomes its result") {
  Rig rig;
  rig.tasks.add(
      "add", [](TaskContext& job) { return job.args().at("a").get<int>() + job.args().at("b").get<int>(); });
  const auto id = rig.enqueue("add", {{"a", 2}, {"b", 3}});
  rig.start();
  const auto result = rig.end_of(id);
  CHECK(result.state == TaskState::succeeded);
  CHECK(result.as<int>() == 5);
  CHECK(result.meta["worker"] == "rig");
  CHECK(result.meta["task"] == "add");
  CHECK_FALSE(rig.storage.broker->find(id));
}

TEST_CASE("engine: a handler that returns nothing leaves null, one that throws leaves its type and message") {
  Rig rig;
  rig.tasks.add("quiet", [](TaskContext&) {});
  rig.tasks.add("boom", [](TaskContext&) { throw std::out_of_range("no such row"); });
  rig.tasks.add("odd", [](TaskContext&) { throw 42; });
  const auto quiet = rig.enqueue("quiet"), boom = rig.enqueue("boom"), odd = rig.enqueue("odd");
  rig.start();
  CHECK(rig.end_of(quiet).value.is_null());
  CHECK(rig.end_of(boom).failure == Failure{"std::out_of_range", "no such row", false});
  CHECK(rig.end_of(odd).failure->type == "int");
}

TEST_CASE("engine: a failed attempt is tried again, and the last one goes to the dead-letter queue") {
  Rig rig;
  std::atomic<int> calls{0};
  rig.tasks.add("boom", [&](TaskContext& job) {
    CHECK(job.attempt() == calls++);
    CHECK(job.max_retries() == 2);
    throw std::runtime_error("still broken");
  });
  const auto id = rig.enqueue("boom", Json::object(), 2);
  rig.start();
  const auto result = rig.end_of(id);
  CHECK(calls == 3);
  CHECK(result.state == TaskState::failed);
  CHECK(result.attempt == 2);
  const auto dead = rig.dead();
  REQUIRE(dead.size() == 1);
  CHECK(dead[0].id == id);
  CHECK(dead[0].reason == "max-retries-exhausted");
  CHECK(dead[0].meta["error"] == "still broken");
}

TEST_CASE("engine: outcomes retry, dead and put back do as they say") {
  Rig rig;
  std::atomic<int> retried{0}, put_back{0};
  rig.tasks.add("later", [&](TaskContext&) -> Outcome {
    if (retried++ == 0) return Retry{"not yet", 1ms};
    return Done{"now"};
  });
  rig.tasks.add("never", [](TaskContext&) -> Outcome { return Dead{"no such customer"}; });
  rig.tasks.add("elsewhere", [&](TaskContext& job) -> Outcome {
    CHECK(job.attempt() == 0);
    if (put_back++ == 0) return PutBack{};
    return Done{job.attempt()};
  });
  const auto later = rig.enqueue("later", Json::object(), 1), never = rig.enqueue("never", Json::object(), 5),
             elsewhere = rig.enqueue("elsewhere");
  rig.start();
  CHECK(rig.end_of(later).value == "now");
  CHECK(rig.end_of(never).failure == Failure{"dead", "no such customer", false});
  CHECK(rig.end_of(elsewhere).value == 0);
  REQUIRE(rig.dead().size() == 1);
  CHECK(rig.dead()[0].reason == "discarded");
}

TEST_CASE("engine: a task's own retries win over the envelope, a producer's express wish over both") {
  Envelope envelope;
  envelope.max_retries = 3;
  CHECK(allowed_retries(envelope, {}) == 3);
  TaskOptions options;
  options.max_retries = 7;
  CHECK(allowed_retries(envelope, options) == 7);
  envelope.meta["stem.retryPolicy"] = {{"maxRetries", 1}};
  CHECK(allowed_retries(envelope, options) == 1);
  envelope.meta["stem.retryPolicy"] = {{"maxRetries", "many"}};
  CHECK(allowed_retries(envelope, options) == 7);
}

TEST_CASE("engine: a job that no task is known for is dead with its reason, and so is a malformed one") {
  Rig rig;
  rig.tasks.add("known", [](TaskContext&) {});
  const auto id = rig.enqueue("unknown", Json::object(), 5);
  rig.start();
  const auto result = rig.end_of(id);
  CHECK(result.failure->message == "no task 'unknown' on node rig");
  REQUIRE(rig.dead().size() == 1);
  CHECK(rig.dead()[0].reason == "unregistered-task");
}

TEST_CASE("engine: it takes jobs of its queues only") {
  Rig rig;
  rig.config.queues = {"mail"};
  rig.tasks.add("t", [](TaskContext& job) { return job.queue(); });
  const auto other = rig.enqueue("t", Json::object(), 0, "other"),
             mail = rig.enqueue("t", Json::object(), 0, "mail");
  auto& engine = rig.start();
  CHECK(rig.end_of(mail).value == "mail");
  CHECK(rig.storage.broker->find(other)->state == JobView::State::ready);
  engine.serve({"other"}, {});
  CHECK(rig.end_of(other).value == "other");
}

TEST_CASE("engine: it runs as many handlers at once as it is told to, and no more") {
  Rig rig;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext&) { gate.pass(); });
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(rig.enqueue("wait"));
  auto& engine = rig.start();
  gate.wait_for(2);
  CHECK(engine.counters().busy == 2);
  gate.release();
  for (const auto& id : ids) CHECK(rig.end_of(id).state == TaskState::succeeded);
  CHECK(gate.arrived == 5);
}

TEST_CASE("engine: the soft limit asks a handler to stop") {
  Rig rig;
  rig.config.soft_time_limit = 20ms;
  rig.tasks.add("long", [](TaskContext& job) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!job.cancelled() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
    return job.cancelled();
  });
  const auto id = rig.enqueue("long");
  rig.start();
  CHECK(rig.end_of(id).value == true);
}

TEST_CASE(
    "engine: the hard limit ends the attempt while the handler hangs, and counts the handler as stuck") {
  Rig rig;
  rig.config.hard_time_limit = 50ms;
  Gate gate;
  rig.tasks.add("hang", [&](TaskContext&) { gate.pass(); });
  rig.tasks.add("fine", [](TaskContext&) {});
  const auto id = rig.enqueue("hang");
  auto& engine = rig.start();
  const auto result = rig.end_of(id);
  CHECK(result.failure->type == "hard-time-limit");
  CHECK(result.failure->message == "ran past its hard time limit of 50ms");
  rig.wait_until([&] { return engine.counters().stuck == 1; });
  CHECK(rig.end_of(rig.enqueue("fine")).state == TaskState::succeeded);  // the other executor goes on
  gate.release();
  rig.wait_until([&] { return engine.counters().stuck == 0; });
  CHECK(rig.dead().size() == 1);
  rig.wait_until([&] { return engine.counters().done == 1; });
}

TEST_CASE("engine: leases are renewed while a handler runs longer than they last") {
  Rig rig;
  rig.config.lease = 500ms;
  Gate gate;
  rig.tasks.add("long", [&](TaskContext&) { gate.pass(); });
  const auto id = rig.enqueue("long");
  rig.start();
  gate.wait_for(1);
  const auto first = *rig.storage.broker->find(id)->due;
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (*rig.storage.broker->find(id)->due <= first + 600ms) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(5ms);
  }
  CHECK(rig.storage.broker->fetch({{"default"}, 10, 1s, "thief"}).empty());
  gate.release();
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("engine: extend_lease holds a job for longer than the worker's leases last") {
  Rig rig;
  Gate gate;
  rig.tasks.add("long", [&](TaskContext& job) {
    job.extend_lease(1h);
    gate.pass();
  });
  const auto id = rig.enqueue("long");
  rig.start();
  gate.wait_for(1);
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (*rig.storage.broker->find(id)->due < Clock::system().wall() + 50min) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(1ms);
  }
  gate.release();
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("engine: progress is seen in the record while the job runs") {
  Rig rig;
  Gate gate;
  rig.tasks.add("long", [&](TaskContext& job) {
    job.progress(0.4, "page 4 of 10");
    gate.pass();
  });
  const auto id = rig.enqueue("long");
  rig.start();
  const auto running =
      rig.record(id, [](const Result& result) { return result.state == TaskState::running; });
  CHECK(running.meta["progress"] == 0.4);
  CHECK(running.meta["progressNote"] == "page 4 of 10");
  gate.release();
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("engine: a quiet worker finishes what runs and puts back what waits") {
  Rig rig;
  rig.config.concurrency = 1;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext&) { gate.pass(); });
  const auto first = rig.enqueue("wait"), second = rig.enqueue("wait");
  auto& engine = rig.start();
  gate.wait_for(1);
  engine.quiet();
  rig.wait_until([&] { return rig.storage.broker->find(second)->state == JobView::State::ready; });
  CHECK_FALSE(engine.finished());
  gate.release();
  rig.wait_until([&] { return engine.finished(); });
  CHECK(rig.end_of(first).state == TaskState::succeeded);
  CHECK(rig.storage.broker->find(second)->attempt == 0);
}

TEST_CASE("engine: a cancelled worker asks its handlers to return") {
  Rig rig;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext& job) {
    gate.release();
    gate.pass();
    while (!job.cancelled()) std::this_thread::sleep_for(1ms);
    return "stopped early";
  });
  const auto id = rig.enqueue("wait");
  auto& engine = rig.start();
  gate.wait_for(1);
  engine.cancel();
  rig.wait_until([&] { return engine.finished(); });
  CHECK(rig.end_of(id).value == "stopped early");
}

TEST_CASE("engine: a halted worker puts back what runs, and the late outcome counts for nothing") {
  Rig rig;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext&) { gate.pass(); });
  const auto id = rig.enqueue("wait");
  auto& engine = rig.start();
  gate.wait_for(1);
  engine.halt();
  rig.wait_until([&] { return engine.finished(); });
  const auto view = rig.storage.broker->find(id);
  REQUIRE(view);
  CHECK(view->state == JobView::State::ready);
  CHECK(view->attempt == 0);
  CHECK_FALSE(engine.idle());
  gate.release();
  rig.engine.reset();
  CHECK_FALSE(rig.storage.results->get(result_key(id)));
}

TEST_CASE("engine: a job that outlived too many workers is dead") {
  Rig rig;
  rig.config.max_deliveries = 2;
  rig.tasks.add("t", [](TaskContext&) {});
  const auto id = rig.enqueue("t");
  for (int i = 0; i < 2; ++i) {
    const auto held = rig.storage.broker->fetch({{"default"}, 1, 1us, "lost"});
    REQUIRE(held.size() == 1);
    std::this_thread::sleep_for(2ms);  // the lease of a microsecond runs out
  }
  rig.start();
  CHECK(rig.end_of(id).failure->type == "max-deliveries-exceeded");
  CHECK(rig.dead()[0].reason == "max-deliveries-exceeded");
}

TEST_CASE("engine: an executor that is free beside stuck ones goes on working") {
  Rig rig;
  rig.config.concurrency = 3;
  rig.config.hard_time_limit = 50ms;
  Gate gate;
  rig.tasks.add("hang", [&](TaskContext&) { gate.pass(); });
  rig.tasks.add("fine", [](TaskContext&) {});
  for (int i = 0; i < 2; ++i) rig.enqueue("hang");
  auto& engine = rig.start();
  rig.wait_until([&] { return engine.counters().stuck == 2; });
  for (int i = 0; i < 5; ++i) CHECK(rig.end_of(rig.enqueue("fine")).state == TaskState::succeeded);
  gate.release();
}

TEST_CASE("engine: a job put back is tried again a moment later, not at once and for ever") {
  Rig rig;
  std::atomic<int> runs{0};
  rig.tasks.add("later", [&](TaskContext&) -> Outcome { return ++runs, PutBack{}; });
  rig.tasks.add("clock", [](TaskContext&) { std::this_thread::sleep_for(450ms); });
  rig.enqueue("later");
  rig.start();
  rig.end_of(rig.enqueue("clock"));
  CHECK(runs >= 2);
  CHECK(runs <= 6);
}

TEST_CASE("engine: a value too deep to be written is a failed attempt") {
  Rig rig;
  rig.tasks.add("deep", [](TaskContext&) {
    Json value;
    for (int i = 0; i < 600; ++i) value = Json::array({std::move(value)});
    return value;
  });
  const auto id = rig.enqueue("deep");
  rig.start();
  CHECK(rig.end_of(id).failure->message == "the result is nested deeper than 512 levels");
}

TEST_CASE("engine: progress that is no number is none") {
  Rig rig;
  Gate gate;
  rig.tasks.add("long", [&](TaskContext& job) {
    job.progress(std::nan(""));
    gate.pass();
  });
  const auto id = rig.enqueue("long");
  rig.start();
  CHECK(rig.record(id, [](const Result& result) { return result.state == TaskState::running; })
            .meta["progress"] == 0.0);
  gate.release();
}

TEST_CASE("engine: of jobs that may end their worker it takes one at a time") {
  Rig rig;
  rig.config.max_deliveries = 4;
  Gate gate;
  rig.tasks.add("t", [&](TaskContext&) { gate.pass(); });
  const auto first = rig.enqueue("t"), second = rig.enqueue("t");
  for (int i = 0; i < 3; ++i) {
    REQUIRE(rig.storage.broker->fetch({{"default"}, 2, 1us, "lost"}).size() == 2);
    std::this_thread::sleep_for(2ms);  // the lease of a microsecond runs out
  }
  auto& engine = rig.start();
  gate.wait_for(1);
  rig.wait_until([&] { return engine.inflight() == 1; });
  gate.release();
  CHECK(rig.end_of(first).state == TaskState::succeeded);
  CHECK(rig.end_of(second).state == TaskState::succeeded);
}

TEST_CASE("engine: an outcome survives a broker that is away for a while") {
  Rig rig;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext&) { return gate.pass(), 7; });
  const auto id = rig.enqueue("wait");
  auto& engine = rig.start();
  gate.wait_for(1);
  cut->cut = true;
  gate.release();
  rig.wait_until([&] { return cut->refused >= 2 && engine.link().trouble(); });
  CHECK(std::string(engine.link().trouble()->what()) == "broker cut off");
  CHECK_FALSE(engine.link().connected());
  cut->cut = false;
  CHECK(rig.end_of(id).value == 7);
  rig.wait_until([&] { return engine.link().connected() && !engine.link().trouble(); });
}

TEST_CASE("engine: told to halt while the broker is away, it gives up its leases and ends") {
  Rig rig;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  Gate gate;
  rig.tasks.add("wait", [&](TaskContext&) { gate.pass(); });
  rig.enqueue("wait");
  auto& engine = rig.start();
  gate.wait_for(1);
  cut->cut = true;
  gate.release();
  engine.quiet();
  rig.wait_until([&] { return cut->refused >= 1; });
  CHECK_FALSE(engine.finished());
  engine.halt();
  rig.wait_until([&] { return engine.finished(); });
}

TEST_CASE("engine: a question that failed once does not make it deaf to what falls due") {
  Rig rig;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  cut->fail_next_due = true;
  rig.tasks.add("t", [](TaskContext&) {});
  Envelope later;
  later.id = "later";
  later.name = "t";
  later.enqueued_at = Clock::system().wall();
  later.not_before = later.enqueued_at + 300ms;
  rig.storage.broker->publish(std::span(&later, 1));
  rig.start();
  CHECK(rig.end_of("later").state == TaskState::succeeded);
}

TEST_CASE("engine: an error that does not pass ends it, and what waits is not begun any more") {
  Rig rig;
  rig.config.concurrency = 1;
  rig.config.prefetch_multiplier = 4;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  Gate first, others;
  std::atomic<int> begun{0};
  rig.tasks.add("t", [&](TaskContext&) { (++begun == 1 ? first : others).pass(); });
  for (int i = 0; i < 4; ++i) rig.enqueue("t");
  auto& engine = rig.start();
  first.wait_for(1);
  rig.wait_until([&] { return engine.inflight() == 4; });
  cut->fatal = true;
  first.release();
  rig.wait_until([&] { return engine.finished(); });
  CHECK(engine.link().trouble()->code() == Exit::config);
  others.release();
  rig.engine.reset();
  CHECK(begun <= 2);
}

TEST_CASE("engine: told to halt, it ends although each renewal fails") {
  Rig rig;
  rig.config.lease = 500ms;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  Gate gate;
  rig.tasks.add("t", [&](TaskContext& job) {
    job.progress(0.1);
    gate.pass();
  });
  rig.enqueue("t");
  auto& engine = rig.start();
  gate.wait_for(1);
  cut->cut = true;
  rig.wait_until([&] { return cut->refused >= 3; });
  engine.halt();
  rig.wait_until([&] { return engine.finished(); });
  gate.release();
}

TEST_CASE("engine: after an outage longer than a lease it does not run its own job twice") {
  Rig rig;
  rig.config.lease = 500ms;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  rig.storage.broker = cut;
  Gate gate;
  std::atomic<int> running{0}, most{0};
  rig.tasks.add("t", [&](TaskContext&) {
    most = std::max(most.load(), ++running);
    gate.pass();
    --running;
  });
  const auto id = rig.enqueue("t");
  auto& engine = rig.start();
  gate.wait_for(1);
  cut->cut = true;
  rig.wait_until([&] { return cut->refused >= 1; });
  const auto until = *rig.storage.broker->find(id)->due + 100ms;
  while (Clock::system().wall() < until) std::this_thread::sleep_for(5ms);  // the lease runs out
  cut->cut = false;
  rig.wait_until([&] { return engine.link().connected(); });
  // It learns that the lease was lost, or holds it again; in both cases the broker and it agree on what it
  // holds.
  gate.release();
  rig.end_of(id);
  CHECK(rig.dead().empty());
}

TEST_CASE("engine: who lost a lease does not write over the record of who has it now") {
  Rig rig;
  Config other;
  other.broker_url = rig.config.broker_url + "-results";
  rig.storage.results = open_storage(other).results;
  rig.config.lease = 500ms;
  auto cut = std::make_shared<CutBroker>(rig.storage.broker);
  const auto direct = rig.storage.broker;
  rig.storage.broker = cut;
  Gate gate;
  rig.tasks.add("t", [&](TaskContext&) { return gate.pass(), "late"; });
  const auto id = rig.enqueue("t");
  auto& engine = rig.start();
  gate.wait_for(1);
  cut->cut = true;
  std::vector<Delivery> successor;
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (successor.empty() && std::chrono::steady_clock::now() < deadline) {
    successor = direct->fetch({{"default"}, 1, 1h, "successor"});
    std::this_thread::sleep_for(5ms);
  }
  REQUIRE(successor.size() == 1);
  const auto now = Clock::system().wall();
  const auto won = settle_outcome(successor[0], envelope_from_wire(successor[0].wire), {}, Done{"first"},
                                  {now, now}, {"successor", 20, {}, 1h}, 0);
  rig.storage.results->put({*won.record});
  direct->settle(std::span(&won, 1));
  gate.release();
  cut->cut = false;
  rig.wait_until([&] { return engine.counters().lost == 1; });
  CHECK(rig.end_of(id).value == "first");
  MetricSnapshot snapshot;
  engine.measure(snapshot);
  const auto* lost = snapshot.find("stem.lease.expired", {{"queue", "default"}});
  REQUIRE(lost);
  CHECK(lost->value == 1);
  CHECK(snapshot.find("stem.tasks.succeeded", {{"task", "t"}, {"queue", "default"}})->value == 0);
}

TEST_CASE("engine: records reach a result backend that is another store than the broker") {
  Rig rig;
  Config other;
  other.broker_url = rig.config.broker_url + "-results";
  rig.storage.results = open_storage(other).results;
  rig.tasks.add("t", [](TaskContext&) { return 1; });
  const auto id = rig.enqueue("t");
  rig.start();
  CHECK(rig.end_of(id).value == 1);
}

TEST_CASE("engine: ten thousand short jobs are each done once") {
  Rig rig;
  std::atomic<int> ran{0};
  rig.tasks.add("t", [&](TaskContext&) { ++ran; });
  std::string last;
  for (int i = 0; i < 10000; ++i) last = rig.enqueue("t");
  auto& engine = rig.start();
  rig.wait_until([&] { return engine.counters().done == 10000; });
  CHECK(ran == 10000);
  CHECK(rig.storage.broker->depths().empty());
}
