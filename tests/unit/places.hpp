#pragma once

#include <poll.h>

#include <chrono>
#include <memory>
#include <stem/stem.hpp>
#include <string>
#include <vector>

#include "core/id.hpp"
#include "postgres_server.hpp"
#include "redis_server.hpp"
#include "temp_dir.hpp"
#include "worker/engine.hpp"

// Where jobs and records may be, each time a new one. `bound`: a publication and what is remembered of it are
// one commit.

struct MemoryPlace {
  static constexpr bool bound = true;
  const std::string broker = "memory://place-" + stem::new_id(stem::Clock::system().wall());
  const std::string results{};
};
struct SqlitePlace {
  static constexpr bool bound = true;
  TempDir dir;
  const std::string broker = "sqlite://" + (dir / "stem.db") + "?synchronous=normal";
  const std::string results{};
};
struct RedisPlace {
  static constexpr bool bound = true;
  static inline int places = 0;
  const std::string broker = RedisServer::shared().url("namespace=place-" + std::to_string(++places));
  const std::string results{};
};
struct PostgresPlace {
  static constexpr bool bound = true;
  static inline int places = 0;
  const std::string broker = PostgresServer::shared().url("schema=place-" + std::to_string(++places));
  const std::string results{};
};
/// Jobs in one system, records in another.
struct SplitPlace {
  static constexpr bool bound = false;
  static inline int places = 0;
  TempDir dir;
  const std::string broker = RedisServer::shared().url("namespace=split-" + std::to_string(++places));
  const std::string results = "sqlite://" + (dir / "results.db") + "?synchronous=normal";
};

/// A producer and its workers.
template <class Place>
struct Plant {
  Place place;
  stem::Config config;
  stem::Registry tasks;
  std::vector<std::unique_ptr<stem::Engine>> engines;
  std::unique_ptr<stem::Stem> producer;

  Plant() {
    config.broker_url = place.broker;
    config.result_backend_url = place.results;
    config.concurrency = 2;
    config.retry = {std::chrono::milliseconds{1}, std::chrono::milliseconds{1}, 1, 0};
    config.node = "plant";
  }
  ~Plant() {
    for (auto& engine : engines) engine->halt();
  }
  Plant(const Plant&) = delete;
  Plant& operator=(const Plant&) = delete;

  stem::Stem& stem() {
    if (!producer) producer = std::make_unique<stem::Stem>(config);
    return *producer;
  }
  stem::Storage storage() const { return stem::open_storage(config); }
  stem::Engine& work() {
    auto own = config;
    own.node += "-" + std::to_string(engines.size());
    engines.push_back(
        std::make_unique<stem::Engine>(stem::engine_options(own), tasks, stem::open_storage(own)));
    engines.back()->start();
    return *engines.back();
  }
  void rest() {
    for (auto& engine : engines) engine->quiet();
    for (auto& engine : engines) wait_until([&] { return engine->finished(); });
    engines.clear();
  }
  stem::Result end_of(const std::string& id) {
    const auto result = stem().wait(id, std::chrono::seconds{60});
    REQUIRE(result);
    REQUIRE_MESSAGE(stem::is_final(result->state), to_wire(*result));
    return *result;
  }
  template <class Holds>
  static void wait_until(Holds holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (!holds()) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      poll(nullptr, 0, 5);
    }
  }
};

#define EVERYWHERE(name) \
  TEST_CASE_TEMPLATE(name, Place, MemoryPlace, SqlitePlace, RedisPlace, PostgresPlace, SplitPlace)
