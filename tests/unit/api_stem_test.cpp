#include <doctest/doctest.h>

#include <atomic>
#include <stem/stem.hpp>
#include <thread>

#include "storage/open.hpp"
#include "temp_dir.hpp"
#include "worker/attempts.hpp"
#include "worker/engine.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// A producer, and what it takes to play the worker by hand.
struct Rig {
  TempDir directory;
  Config config;
  Rig() { config.broker_url = "sqlite://" + (directory / "stem.db"); }

  Storage storage() const { return open_storage(config); }
  std::vector<Delivery> fetch(const std::string& queue = "default") const {
    return storage().broker->fetch({{queue}, 10, 30s, "by-hand"});
  }
};

int refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return static_cast<int>(error.code());
  }
  return 0;
}

}  // namespace

TEST_CASE("producer: what is asked for is in the envelope") {
  const Rig rig;
  Stem stem(rig.config);
  EnqueueOptions options;
  options.id = "one";
  options.queue = "mail";
  options.priority = 7;
  options.max_retries = 1;
  options.headers = {{"tenant", "acme"}};
  CHECK(stem.enqueue("mail.send", {{"to", "a@b.c"}}, options) == "one");
  const auto deliveries = rig.fetch("mail");
  REQUIRE(deliveries.size() == 1);
  const auto envelope = envelope_from_wire(deliveries[0].wire);
  CHECK(envelope.id == "one");
  CHECK(envelope.name == "mail.send");
  CHECK(envelope.args == Json{{"to", "a@b.c"}});
  CHECK(envelope.priority == 7);
  CHECK(envelope.max_retries == 1);
  CHECK(allowed_retries(envelope, TaskOptions{.max_retries = 9}) == 1);
  CHECK(envelope.headers.at("tenant") == "acme");
  CHECK(envelope.meta["stem.task"] == "mail.send");
}

TEST_CASE(
    "producer: a routing file decides on queue and priority, and what goes to everyone is no job of a "
    "queue") {
  Rig rig;
  rig.config.routing_file = rig.directory / "routing.yaml";
  rig.directory.file(
      "routing.yaml",
      R"({default_queue: web, queues: {web: {priority_range: [0, 4]}, mail: }, broadcasts: {caches: },
    routes: [{match: {task: "mail.*"}, target: {name: mail}, priority_override: 9},
             {match: {task: "cache.*"}, target: {type: broadcast, name: caches}}]})");
  const auto storage = rig.storage();
  std::vector<Listening> ears{{"caches"}};
  storage.broker->listen(ears, 10);
  Stem stem(rig.config);
  stem.enqueue({{"mail.send"}, {"other", Json::object(), {.priority = 8}}, {"cache.flush"}});
  const auto sent = rig.fetch("mail"), other = rig.fetch("web");
  REQUIRE(sent.size() == 1);
  REQUIRE(other.size() == 1);
  CHECK(envelope_from_wire(sent[0].wire).priority == 9);
  CHECK(envelope_from_wire(sent[0].wire).queue == "mail");
  CHECK(envelope_from_wire(other[0].wire).priority == 4);
  const auto heard = storage.broker->listen(ears, 10);
  REQUIRE(heard.size() == 1);
  CHECK(envelope_from_wire(heard[0].wire).name == "cache.flush");
  CHECK(storage.broker->depths().size() == 2);
  // A mistake in the file is found before anything is enqueued, and by those alone who enqueue.
  rig.directory.file("routing.yaml", "routes: 7\n");
  Stem wrong(rig.config);
  CHECK(refusal([&] { wrong.enqueue("other"); }) == 78);
  CHECK_FALSE(wrong.result("unknown"));
}

TEST_CASE("producer: what is not asked for comes from the configuration") {
  Rig rig;
  rig.config.default_queue = "work";
  rig.config.default_max_retries = 8;
  Stem(rig.config).enqueue("t");
  const auto deliveries = rig.fetch("work");
  REQUIRE(deliveries.size() == 1);
  CHECK(envelope_from_wire(deliveries[0].wire).max_retries == 8);
}

TEST_CASE("producer: delayed jobs wait, and an eta wins over a delay") {
  const Rig rig;
  Stem stem(rig.config);
  EnqueueOptions later, past;
  later.delay = 1h;
  past.delay = 1h;
  past.eta = Clock::system().wall() - 1h;
  const auto waits = stem.enqueue("t", Json::object(), later), due = stem.enqueue("t", Json::object(), past);
  const auto deliveries = rig.fetch();
  REQUIRE(deliveries.size() == 1);
  CHECK(deliveries[0].id == due);
  CHECK(stem.result(waits)->state == TaskState::queued);
  CHECK(stem.result(waits)->meta.contains("notBefore"));
  CHECK(stem.result(due)->state == TaskState::running);
  CHECK(stem.result(due)->meta["worker"] == "by-hand");
}

TEST_CASE("producer: many jobs are all enqueued or none") {
  const Rig rig;
  Stem stem(rig.config);
  CHECK(refusal([&] { stem.enqueue({{"good"}, {"bad name"}}); }) == 64);
  CHECK(rig.storage().broker->depths().empty());
  CHECK(stem.enqueue({{"a"}, {"b"}}).size() == 2);
  CHECK(rig.storage().broker->depths()[0].ready == 2);
}

TEST_CASE("producer: bad arguments are refused with 64 and enqueue nothing") {
  const Rig rig;
  Stem stem(rig.config);
  EnqueueOptions high, odd;
  high.priority = 10;
  odd.id = "a b";
  CHECK(refusal([&] { stem.enqueue("t", Json::array()); }) == 64);
  CHECK(refusal([&] { stem.enqueue("t", Json::object(), high); }) == 64);
  CHECK(refusal([&] { stem.enqueue("t", Json::object(), odd); }) == 64);
  CHECK(refusal([&] { stem.enqueue("t", {{"text", "\xff"}}); }) == 65);
  CHECK(rig.storage().broker->depths().empty());
}

TEST_CASE("producer: an unknown broker is refused with 78") {
  Config config;
  config.broker_url = "gopher://x";
  CHECK(refusal([&] { Stem stem(config); }) == 78);
}

TEST_CASE("producer: waiting returns the result as soon as a worker of another connection has it") {
  const Rig rig;
  Registry tasks;
  tasks.add("square", [](TaskContext& job) {
    const int number = job.args().at("n");
    return number * number;
  });
  Engine engine(engine_options(rig.config), tasks, rig.storage());
  Stem stem(rig.config);
  const auto id = stem.enqueue("square", {{"n", 12}});
  std::thread worker([&] { engine.start(); });
  const auto result = stem.wait(id, 20s);
  worker.join();
  REQUIRE(result);
  CHECK(result->state == TaskState::succeeded);
  CHECK(result->as<int>() == 144);
}

TEST_CASE("producer: waiting ends at once as well where results are in another database than jobs") {
  Rig rig;
  rig.config.result_backend_url = "sqlite://" + (rig.directory / "results.db");
  Registry tasks;
  tasks.add("t", [](TaskContext&) {});
  Engine engine(engine_options(rig.config), tasks, rig.storage());
  engine.start();
  Stem stem(rig.config);
  for (int i = 0; i < 10; ++i) {
    const auto began = std::chrono::steady_clock::now();
    CHECK(stem.wait(stem.enqueue("t"), 1min)->state == TaskState::succeeded);
    CHECK(std::chrono::steady_clock::now() - began < 20s);
  }
}

TEST_CASE("producer: the longest wait there is, is a wait") {
  const Rig rig;
  Stem stem(rig.config);
  const auto id = stem.enqueue("t");
  std::atomic<bool> returned{false};
  std::thread waiter([&] { stem.wait(id, Duration::max()), returned = true; });
  std::this_thread::sleep_for(50ms);
  CHECK_FALSE(returned);
  const auto delivery = rig.fetch().at(0);
  const auto now = Clock::system().wall();
  const auto done = settle_outcome(delivery, envelope_from_wire(delivery.wire), {}, Done{}, {now, now},
                                   {"w", 20, {}, 1h}, 0);
  rig.storage().broker->settle(std::span(&done, 1));
  waiter.join();
}

TEST_CASE("producer: waiting ends with its time-out, and at once for a job that nobody knows") {
  const Rig rig;
  Stem stem(rig.config);
  const auto id = stem.enqueue("t");
  CHECK(stem.wait(id, 10ms)->state == TaskState::queued);
  CHECK_FALSE(stem.wait("nobody", 1h));
}

TEST_CASE("producer: a job that failed for good is failed, and its reason is told") {
  const Rig rig;
  Stem stem(rig.config);
  const auto id = stem.enqueue("t");
  const auto delivery = rig.fetch().at(0);
  const auto now = Clock::system().wall();
  const Settlement dead =
      settle_dead(delivery, "t", "discarded", {"dead", "no such customer"}, {now, now}, {"w", 20, {}, 1h});
  rig.storage().broker->settle(std::span(&dead, 1));
  const auto result = stem.result(id);
  REQUIRE(result);
  CHECK(result->state == TaskState::failed);
  CHECK(result->failure == Failure{"dead", "no such customer", false});
}

TEST_CASE("producer: a job that was retried is running again once it is leased again") {
  const Rig rig;
  Stem stem(rig.config);
  const auto id = stem.enqueue("t");
  const auto delivery = rig.fetch().at(0);
  const auto now = Clock::system().wall();
  const auto retry = settle_failure(delivery, envelope_from_wire(delivery.wire), {}, {"e", "once"},
                                    Duration::zero(), {now, now}, {"w", 20, {}, 1h}, 0);
  rig.storage().broker->settle(std::span(&retry, 1));
  CHECK(stem.result(id)->state == TaskState::retried);
  CHECK(stem.result(id)->failure->message == "once");
  REQUIRE(rig.fetch().size() == 1);
  CHECK(stem.result(id)->state == TaskState::running);
  CHECK(stem.result(id)->attempt == 1);
}
