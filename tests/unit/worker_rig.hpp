#pragma once

#include <doctest/doctest.h>

#include <condition_variable>
#include <mutex>
#include <set>
#include <stem/stem.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/id.hpp"
#include "postgres_server.hpp"
#include "redis_server.hpp"
#include "storage/open.hpp"
#include "temp_dir.hpp"
#include "worker/engine.hpp"
#include "worker/fleet.hpp"

/// Workers in this process, on each kind of broker, and what an operator does with them.
#define EVERY_PLACE(name) TEST_CASE_TEMPLATE(name, Place, Memory, Sqlite, Redis, Postgres)

using namespace stem;
using namespace std::chrono_literals;
using Names = std::vector<std::string>;

namespace {

constexpr auto patience = 20s;  // that no test uses up where all is well

struct Memory {
  std::string url = "memory://control-" + new_id(Clock::system().wall());
};
struct Sqlite {
  TempDir directory;
  std::string url = "sqlite://" + (directory / "stem.db") + "?synchronous=normal";
};
struct Redis {
  std::string url = RedisServer::shared().url("namespace=control-" + new_id(Clock::system().wall()));
};

struct Postgres {
  std::string url = PostgresServer::shared().url("schema=control-" + new_id(Clock::system().wall()));
};

/// A handler that waits until it is let go, or asked to stop.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  int arrived = 0;
  bool open = false;

  /// Returns whether the handler was asked to stop.
  bool pass(TaskContext& job) {
    std::unique_lock lock(mutex);
    ++arrived;
    changed.notify_all();
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!open && !job.cancelled() && std::chrono::steady_clock::now() < deadline)
      changed.wait_for(lock, 5ms);
    return job.cancelled();
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, patience, [&] { return arrived >= count; }));
  }
  void release() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
};

/// Workers and an operator, each with connections of their own.
template <class Place>
struct Rig {
  Place place;
  Config config;
  Registry tasks;
  Gate gate;
  std::mutex mutex;
  std::multiset<std::string> ran;
  std::vector<std::unique_ptr<Engine>> engines;

  Rig() {
    config.broker_url = place.url;
    config.concurrency = 1;
    config.retry = {1ms, 1ms, 1, 0};
    config.heartbeat = 1s;
    tasks.add("note", [this](TaskContext& job) {
      const std::lock_guard lock(mutex);
      ran.insert(job.id());
    });
    tasks.add("gate", [this](TaskContext& job) {
      if (gate.pass(job)) throw std::runtime_error("stopped half-way");
    });
  }
  ~Rig() {
    gate.release();
    for (auto& engine : engines) engine->halt();
  }

  Engine& start(const std::string& node, const Names& queues = {"default"}) {
    auto own = config;
    own.node = node;
    own.queues = queues;
    engines.push_back(std::make_unique<Engine>(engine_options(own), tasks, open_storage(own)));
    engines.back()->start();
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!engines.back()->link().answered()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      std::this_thread::sleep_for(1ms);
    }
    return *engines.back();
  }
  Fleet fleet() const { return Fleet(config, open_storage(config)); }
  std::string enqueue(const std::string& task, const std::string& queue = "default") const {
    EnqueueOptions options;
    options.queue = queue;
    return Stem(config).enqueue(task, Json::object(), options);
  }
  Result end_of(const std::string& id) const {
    const auto result = Stem(config).wait(id, patience);
    REQUIRE(result);
    REQUIRE(is_final(result->state));
    return *result;
  }
  bool has_run(const std::string& id) {
    const std::lock_guard lock(mutex);
    return ran.contains(id);
  }
  Revocation order(const std::string& job, bool terminate = false) const {
    return {.job = job,
            .terminate = terminate,
            .reason = "wrong",
            .requester = "ann",
            .issued = Clock::system().wall()};
  }
  std::vector<FleetAnswer> revoke(const std::vector<Revocation>& all, const Names& nodes = {}) const {
    auto operator_side = fleet();
    operator_side.orders().revoke(all);
    auto list = Json::array();
    for (const auto& one : all) list.push_back(to_json(one, config.name_space));
    return operator_side.ask("revoke", {{"namespace", config.name_space}, {"revocations", list}}, nodes,
                             patience);
  }
  std::vector<FleetAnswer> pause(const std::string& queue) const {
    auto operator_side = fleet();
    operator_side.orders().pause({{.queue = queue,
                                   .node = {},
                                   .reason = "repairs",
                                   .requester = "ann",
                                   .since = Clock::system().wall()}});
    return operator_side.ask("queue_pause", {{"queues", {queue}}}, {}, patience);
  }
  std::vector<FleetAnswer> resume(const std::string& queue) const {
    auto operator_side = fleet();
    operator_side.orders().resume({queue});
    return operator_side.ask("queue_resume", {{"queues", {queue}}}, {}, patience);
  }
  /// Whether the node answers: then it has heard all that was said before.
  bool answers(const std::string& node) const {
    const auto all = fleet().ask("ping", Json::object(), {node}, patience);
    return all.size() == 1 && all[0].ok();
  }
  void say(const std::string& channel, const Envelope& envelope) const {
    open_storage(config).broker->broadcast(channel, envelope, 60s);
  }
};

}  // namespace
