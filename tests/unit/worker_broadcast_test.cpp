#include <doctest/doctest.h>

#include <stdexcept>

#include "error_of.hpp"
#include "worker_rig.hpp"

namespace {

constexpr auto routing = R"({default_queue: default, broadcasts: {caches: {ttl: 1h}, others: },
  routes: [{match: {task: note, queue_override: everyone}, target: {type: broadcast, name: caches}},
           {match: {task: note, queue_override: others}, target: {type: broadcast, name: others}},
           {match: {task: [gate, fail, again]}, target: {type: broadcast, name: caches}}]})";

/// Workers that listen on a channel, and a producer whose routing file sends jobs there.
template <class Place>
struct Broadcasts : Rig<Place> {
  TempDir directory;
  std::mutex failing;
  int failed = 0;

  Broadcasts() {
    this->config.routing_file = directory.file("routing.yaml", routing);
    this->config.broadcasts = {"caches"};
    this->tasks.add("fail", [this](TaskContext&) {
      const std::lock_guard lock(failing);
      ++failed;
      throw std::runtime_error("no");
    });
    this->tasks.add("again", [](TaskContext&) { return PutBack{}; });
  }
  std::size_t runs() {
    const std::lock_guard lock(this->mutex);
    return this->ran.size();
  }
  template <class Condition>
  void until(Condition holds) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(1ms);
    }
  }
  void until_runs(std::size_t count) {
    until([&] { return runs() >= count; });
  }
};

}  // namespace

EVERY_PLACE("broadcast jobs: everyone who listens runs them once, nobody else, and no record is kept") {
  Broadcasts<Place> rig;
  rig.start("a");
  rig.start("b", {"other"});
  rig.config.broadcasts = {};
  rig.start("c");
  const auto id = rig.enqueue("note", "everyone");
  rig.until_runs(2);
  const auto last = rig.enqueue("note", "everyone");
  rig.until_runs(4);
  rig.until([&] { return rig.engines[0]->counters().done == 2; });
  CHECK(rig.answers("c"));
  const std::lock_guard lock(rig.mutex);
  CHECK(rig.ran.count(id) == 2);
  CHECK(rig.ran.count(last) == 2);
  CHECK(rig.engines[2]->counters().started == 0);
  CHECK_FALSE(Stem(rig.config).result(id));
}

EVERY_PLACE("broadcast jobs: what fails is counted, and neither tried again nor a dead letter") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("fail");
  rig.enqueue("again");
  rig.enqueue("note", "everyone");
  rig.until_runs(1);
  rig.until([&] {
    const auto& counters = engine.counters();
    return counters.failed == 1 && counters.done == 1 && engine.inflight() == 0;
  });
  CHECK(rig.failed == 1);
  CHECK(engine.counters().retried == 0);
  CHECK(open_storage(rig.config).broker->dead_letters({}, 10).empty());
}

EVERY_PLACE("broadcast jobs: a worker hears no more than it can hold, and all of it in the end") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("gate");
  rig.gate.wait_for(1);
  for (int i = 0; i < 250; ++i) rig.enqueue("note", "everyone");
  CHECK(rig.answers("a"));
  CHECK(engine.inflight() <= engine.options().prefetch_multiplier);
  rig.gate.release();
  rig.until_runs(250);
  CHECK(rig.answers("a"));
  CHECK(rig.runs() == 250);
}

EVERY_PLACE("broadcast jobs: a worker that ends finishes the one that runs, and begins no other") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("gate");
  rig.gate.wait_for(1);
  rig.enqueue("note", "everyone");
  rig.until([&] { return engine.inflight() == 2; });
  engine.quiet();
  rig.until([&] { return engine.inflight() == 1; });
  CHECK_FALSE(engine.finished());
  rig.gate.release();
  rig.until([&] { return engine.finished(); });
  CHECK(rig.runs() == 0);
}

EVERY_PLACE("broadcast jobs: a worker told to halt does not wait for the one that runs") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("gate");
  rig.gate.wait_for(1);
  engine.halt();
  rig.until([&] { return engine.finished(); });
}

EVERY_PLACE("broadcast jobs: channels may change while the worker runs; a new one is heard from then on") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("note", "everyone");
  rig.until_runs(1);
  engine.serve({"default"}, {"others"});
  // The channel is followed when the worker next listens; what comes back says that it has.
  rig.until([&] {
    rig.enqueue("note", "others");
    std::this_thread::sleep_for(10ms);
    return rig.runs() > 1;
  });
  const auto unheard = rig.enqueue("note", "everyone");
  engine.serve({"default"}, {"caches", "others"});
  const auto before = rig.runs();
  rig.until([&] {
    rig.enqueue("note", "everyone");
    std::this_thread::sleep_for(10ms);
    return rig.runs() > before + 1;
  });
  CHECK_FALSE(rig.has_run(unheard));
}

EVERY_PLACE("broadcast jobs: one that was revoked is not run, one that runs is asked to stop") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a");
  EnqueueOptions options;
  options.id = "wrong";
  options.queue = "everyone";
  rig.revoke({rig.order("wrong")});
  Stem(rig.config).enqueue("note", Json::object(), options);
  rig.enqueue("note", "everyone");
  rig.until_runs(1);
  CHECK_FALSE(rig.has_run("wrong"));
  rig.until([&] { return engine.counters().cancelled == 1; });

  const auto running = rig.enqueue("gate");
  rig.gate.wait_for(1);
  rig.revoke({rig.order(running, true)});
  rig.until([&] { return engine.counters().cancelled == 2; });
}

EVERY_PLACE("broadcast jobs: a paused queue of the same name does not keep them from being run") {
  Broadcasts<Place> rig;
  auto& engine = rig.start("a", {"caches"});
  rig.pause("caches");
  CHECK(engine.subscriptions().paused() == Names{"caches"});
  rig.enqueue("note", "everyone");
  rig.until_runs(1);
}

TEST_CASE("broadcast jobs: where jobs have to be signed, one that is not is not run") {
  Broadcasts<Memory> rig;
  rig.config.signing.keys = {{"k", "secret"}};
  rig.config.signing.active_key = "k";
  auto& engine = rig.start("a");
  auto stranger = rig.config;
  stranger.signing = {};
  EnqueueOptions options;
  options.queue = "everyone";
  const auto forged = Stem(stranger).enqueue("note", Json::object(), options);
  const auto good = rig.enqueue("note", "everyone");
  rig.until_runs(1);
  CHECK(rig.has_run(good));
  CHECK_FALSE(rig.has_run(forged));
  CHECK(engine.counters().forged == 1);
}

TEST_CASE("broadcast jobs: what is said on a channel and is no job harms nobody") {
  Broadcasts<Memory> rig;
  auto& engine = rig.start("a");
  Envelope strange;
  strange.id = "strange";
  strange.name = "unknown";
  strange.queue = "caches";
  rig.say("caches", strange);
  rig.enqueue("note", "everyone");
  rig.until_runs(1);
  rig.until([&] { return engine.counters().failed == 1; });
}

TEST_CASE("broadcast jobs: a channel that the routing file does not know is a mistake") {
  Broadcasts<Memory> rig;
  rig.config.broadcasts = {"cache"};
  const auto failed = error_of([&] { engine_options(rig.config); });
  CHECK(failed.status == 78);
  CHECK(failed.message.find("listen on 'cache', which is not among `broadcasts` of " +
                            rig.config.routing_file) != std::string::npos);
  rig.config.routing_file.clear();
  CHECK(engine_options(rig.config).broadcasts == Names{"cache"});
}
