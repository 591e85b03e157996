#include <doctest/doctest.h>
#include <poll.h>

#include <stem/canvas.hpp>
#include <stem/stem.hpp>

#include "core/id.hpp"
#include "core/revocation.hpp"
#include "worker/engine.hpp"
#include "worker/standing_orders.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

using Labels = MetricPoint::Labels;

/// A worker on a memory broker of its own, and what it says of itself.
struct Rig {
  Registry tasks;
  Config config;
  Storage storage;
  std::unique_ptr<Engine> engine;

  Rig() {
    config.broker_url = "memory://metrics-" + new_id(Clock::system().wall());
    config.concurrency = 2;
    config.retry = {1ms, 1ms, 1, 0};
    config.node = "rig";
    config.heartbeat = 1s;
    storage = open_storage(config);
  }
  ~Rig() {
    if (engine) engine->halt();
  }

  Engine& start() {
    engine = std::make_unique<Engine>(engine_options(config), tasks, storage);
    engine->start();
    return *engine;
  }
  std::string enqueue(const std::string& task, EnqueueOptions options = {}) {
    return Stem(config).enqueue(task, Json::object(), options);
  }
  void end_of(const std::string& id) {
    const auto result = Stem(config).wait(id, 20s);
    REQUIRE(result);
    REQUIRE(is_final(result->state));
  }
  MetricSnapshot look() {
    MetricSnapshot snapshot;
    engine->measure(snapshot);
    return snapshot;
  }
  double value(const char* name, const Labels& labels) {
    const auto snapshot = look();
    const auto* point = snapshot.find(name, labels);
    return point ? point->value : -1;
  }
  double of_task(const char* name, const char* task, const char* queue = "default") {
    return value(name, {{"task", task}, {"queue", queue}});
  }
  double of_worker(const char* name) { return value(name, {{"worker", "rig"}, {"namespace", "stem"}}); }
  template <class Holds>
  static void wait_until(Holds holds) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    while (!holds()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      poll(nullptr, 0, 5);
    }
  }
};

}  // namespace

TEST_CASE("metrics: each end of a job moves the figure that is named after it, for its task and queue") {
  Rig rig;
  rig.tasks.add("good", [](TaskContext&) { poll(nullptr, 0, 20); });
  rig.tasks.add("bad", [](TaskContext&) { throw std::runtime_error("no"); });
  rig.tasks.add("second", [](TaskContext& job) {
    if (job.attempt() == 0) throw std::runtime_error("not yet");
  });
  EnqueueOptions once;
  once.max_retries = 0;
  const auto good = rig.enqueue("good"), bad = rig.enqueue("bad", once), second = rig.enqueue("second"),
             nobody = rig.enqueue("nobody", once);
  rig.start();
  for (const auto& id : {good, bad, second, nobody}) rig.end_of(id);
  // A record may be seen a moment before the end is counted.
  for (const auto* task : {"good", "second"})
    Rig::wait_until([&] { return rig.of_task("stem.tasks.succeeded", task) == 1; });
  Rig::wait_until([&] { return rig.of_task("stem.tasks.failed", "bad") == 1; });
  Rig::wait_until([&] { return rig.of_task("stem.tasks.failed", "unknown") == 1; });

  CHECK(rig.of_task("stem.tasks.started", "good") == 1);
  CHECK(rig.of_task("stem.tasks.succeeded", "good") == 1);
  CHECK(rig.of_task("stem.tasks.failed", "good") == 0);
  CHECK(rig.of_task("stem.tasks.failed", "bad") == 1);
  CHECK(rig.of_task("stem.tasks.succeeded", "bad") == 0);
  CHECK(rig.of_task("stem.tasks.started", "second") == 2);
  CHECK(rig.of_task("stem.tasks.retried", "second") == 1);
  // A name that nobody registered is up to whoever sends it.
  CHECK(rig.of_task("stem.tasks.started", "unknown") == 0);
  CHECK(rig.of_task("stem.tasks.failed", "nobody") == -1);

  const auto snapshot = rig.look();
  const auto* duration = snapshot.find("stem.task.duration", {{"task", "good"}, {"queue", "default"}});
  REQUIRE(duration);
  CHECK(duration->spread.count == 1);
  CHECK(duration->spread.min >= 0.02);
  const auto* attempts = snapshot.find("stem.task.duration", {{"task", "second"}, {"queue", "default"}});
  CHECK(attempts->spread.count == 2);
  // Of a second attempt nobody here knows when it was due.
  CHECK(snapshot.find("stem.task.wait", {{"task", "second"}, {"queue", "default"}})->spread.count == 1);
}

TEST_CASE("metrics: the wait counts from when a job was due, not from when it was enqueued") {
  Rig rig;
  rig.tasks.add("t", [](TaskContext&) {});
  rig.tasks.add("later", [](TaskContext&) {});
  const auto waited = rig.enqueue("t");
  EnqueueOptions delayed;
  delayed.delay = 300ms;
  const auto later = rig.enqueue("later", delayed);
  poll(nullptr, 0, 100);
  rig.start();
  rig.end_of(waited);
  rig.end_of(later);
  const auto snapshot = rig.look();
  const auto* first = snapshot.find("stem.task.wait", {{"task", "t"}, {"queue", "default"}});
  const auto* second = snapshot.find("stem.task.wait", {{"task", "later"}, {"queue", "default"}});
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->spread.min >= 0.1);
  CHECK(second->spread.max < 20);
  CHECK(second->spread.count == 1);
}

TEST_CASE("metrics: jobs that were revoked, too late or beyond a rate are counted as such") {
  Rig rig;
  rig.tasks.add("t", [](TaskContext&) {});
  rig.tasks.add("slow", [](TaskContext&) {}, {.rate_limit = RateLimit{1, 1h}});
  EnqueueOptions soon;
  soon.expires = 1ms;
  const auto late = rig.enqueue("t", soon);
  const auto revoked = rig.enqueue("t");
  rig.enqueue("slow");
  rig.enqueue("slow");
  poll(nullptr, 0, 5);
  StandingOrders(rig.storage.standing_orders(), "stem", {}, Clock::system())
      .revoke({{.job = revoked,
                .terminate = false,
                .reason = "",
                .requester = "ann",
                .issued = Clock::system().wall()}});
  rig.start();
  rig.end_of(late);
  rig.end_of(revoked);
  Rig::wait_until([&] { return rig.of_task("stem.tasks.expired", "t") == 1; });
  Rig::wait_until([&] { return rig.of_task("stem.tasks.revoked", "t") == 1; });
  Rig::wait_until([&] { return rig.of_task("stem.tasks.rate_limited", "slow") >= 1; });
  CHECK(rig.of_task("stem.tasks.started", "t") == 0);
  CHECK(rig.of_task("stem.tasks.succeeded", "t") == 0);
}

TEST_CASE("metrics: a job that nobody signed is refused under its task, one of an unknown task under none") {
  Rig rig;
  rig.tasks.add("t", [](TaskContext&) {});
  const auto known = rig.enqueue("t"), unknown = rig.enqueue("whatever");
  rig.config.signing.keys = {{"v1", "0123456789abcdef0123456789abcdef"}};
  rig.config.signing.active_key = "v1";
  rig.start();
  rig.end_of(known);
  rig.end_of(unknown);
  for (const auto* task : {"t", "unknown"}) {
    Rig::wait_until([&] { return rig.of_task("stem.tasks.failed", task) == 1; });
    CHECK(rig.of_task("stem.tasks.signature_invalid", task) == 1);
  }
}

TEST_CASE("metrics: leases that are renewed count for their queue") {
  Rig rig;
  rig.config.lease = 500ms;
  std::atomic<bool> open{false};
  rig.tasks.add("t", [&](TaskContext&) {
    while (!open) poll(nullptr, 0, 5);
  });
  const auto id = rig.enqueue("t");
  rig.start();
  Rig::wait_until([&] { return rig.value("stem.lease.renewed", {{"queue", "default"}}) >= 2; });
  CHECK(rig.value("stem.lease.expired", {{"queue", "default"}}) == 0);
  CHECK(rig.of_worker("stem.worker.busy") == 1);
  CHECK(rig.of_worker("stem.worker.inflight") == 1);
  open = true;
  rig.end_of(id);
}

TEST_CASE("metrics: a worker says its heartbeats, its handlers and how its broker fares") {
  Rig rig;
  rig.tasks.add("t", [](TaskContext&) {});
  rig.start();
  Rig::wait_until([&] { return rig.of_worker("stem.worker.heartbeats") >= 2; });
  CHECK(rig.of_worker("stem.worker.concurrency") == 2);
  CHECK(rig.of_worker("stem.worker.stuck") == 0);
  CHECK(rig.of_worker("stem.broker.connected") == 1);
  CHECK(rig.of_worker("stem.broker.age") >= 0);
}

TEST_CASE("metrics: queues are looked at when somebody wants to know, and never else") {
  Rig rig;
  rig.tasks.add("t", [](TaskContext&) {});
  rig.config.queues = {"served", "empty"};
  EnqueueOptions away;
  away.queue = "elsewhere";
  rig.enqueue("t", away);
  EnqueueOptions later;
  later.queue = "served";
  later.delay = 1h;
  rig.enqueue("t", later);
  rig.start();
  const auto depth = [&](const char* queue) {
    return rig.value("stem.queue.depth", {{"queue", queue}, {"worker", "rig"}, {"namespace", "stem"}});
  };
  Rig::wait_until([&] { return rig.of_worker("stem.worker.heartbeats") >= 2; });
  CHECK(depth("served") == -1);
  rig.engine->want_queues(1min);
  Rig::wait_until([&] { return depth("served") == 1; });
  CHECK(depth("empty") == 0);
  CHECK(depth("elsewhere") == -1);
  CHECK(rig.value("stem.dead_letters", {{"queue", "served"}, {"worker", "rig"}, {"namespace", "stem"}}) == 0);
  CHECK(rig.value("stem.queue.lag", {{"queue", "served"}, {"worker", "rig"}, {"namespace", "stem"}}) == 0);
  // Again at each heartbeat.
  rig.enqueue("t", later);
  Rig::wait_until([&] { return depth("served") == 2; });
}

TEST_CASE("metrics: what waits too long shows as the lag of its queue, and dead letters as such") {
  Rig rig;
  rig.tasks.add("bad", [](TaskContext&) { throw std::runtime_error("no"); });
  EnqueueOptions once;
  once.max_retries = 0;
  rig.end_of((rig.start(), rig.enqueue("bad", once)));
  rig.engine->want_queues(1min);
  const Labels labels{{"queue", "default"}, {"worker", "rig"}, {"namespace", "stem"}};
  Rig::wait_until([&] { return rig.value("stem.dead_letters", labels) == 1; });
  StandingOrders(rig.storage.standing_orders(), "stem", {}, Clock::system())
      .pause({{.queue = "default",
               .node = {},
               .reason = "",
               .requester = "ann",
               .since = Clock::system().wall()}});
  rig.engine->halt();
  rig.engine.reset();
  rig.enqueue("bad");
  rig.start().want_queues(1min);
  Rig::wait_until([&] { return rig.value("stem.queue.lag", labels) >= 1; });
  CHECK(rig.value("stem.queue.depth", labels) == 1);
}

TEST_CASE("metrics: a chord's callback is counted by its task when it is enqueued") {
  Rig rig;
  rig.tasks.add("member", [](TaskContext&) { return 1; });
  rig.tasks.add("sum", [](TaskContext&) {});
  rig.start();
  const auto chord = Stem(rig.config).enqueue(Chord{{{"member"}, {"member"}}, {"sum"}});
  Rig::wait_until([&] { return rig.value("stem.chords.dispatched", {{"callback", "sum"}}) == 1; });
}

TEST_CASE("metrics: no more than two hundred pairs of task and queue are told apart") {
  Registry tasks;
  tasks.add("t", [](TaskContext&) {});
  const auto* task = tasks.find("t");
  JobSeriesBook book;
  for (std::size_t i = 0; i < JobSeriesBook::most + 50; ++i)
    ++book.of(task, "queue-" + std::to_string(i)).started;
  ++book.of(task, "queue-0").started;
  CHECK(&book.of(task, "another") == &book.of(nullptr, "yet-another"));
  for (int i = 0; i < 100; ++i) book.count_chord("callback-" + std::to_string(i));
  book.count_chord("no name\n");
  MetricSnapshot snapshot;
  book.measure(snapshot);
  const auto* family = snapshot.find("stem.tasks.started");
  REQUIRE(family);
  CHECK(family->points.size() == JobSeriesBook::most + 1);
  CHECK(snapshot.find("stem.tasks.started", {{"task", "other"}, {"queue", "other"}})->value == 50);
  CHECK(snapshot.find("stem.tasks.started", {{"task", "t"}, {"queue", "queue-0"}})->value == 2);
  CHECK(snapshot.find("stem.chords.dispatched")->points.size() == JobSeriesBook::most_callbacks + 1);
  CHECK(snapshot.find("stem.chords.dispatched", {{"callback", "other"}})->value == 51);
}

TEST_CASE("metrics: what is shown while handlers end is never more than has begun") {
  Rig rig;
  rig.config.concurrency = 4;
  rig.tasks.add("t", [](TaskContext&) {});
  std::vector<Job> jobs(5000, Job{"t"});
  rig.start();
  Stem(rig.config).enqueue(jobs);
  double done = 0;
  while (done < 5000) {
    const auto snapshot = rig.look();
    const auto* succeeded = snapshot.find("stem.tasks.succeeded", {{"task", "t"}, {"queue", "default"}});
    const auto now = succeeded ? succeeded->value : 0;
    CHECK(now >= done);
    done = now;
    const auto* after = snapshot.find("stem.task.duration", {{"task", "t"}, {"queue", "default"}});
    if (after) CHECK(after->spread.count <= 5000);
  }
  CHECK(rig.of_task("stem.tasks.started", "t") == 5000);
}
