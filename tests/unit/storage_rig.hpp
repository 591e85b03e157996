#pragma once

#include <poll.h>

#include <chrono>
#include <string>
#include <vector>

#include "core/id.hpp"
#include "hand_clock.hpp"
#include "postgres_server.hpp"
#include "redis_server.hpp"
#include "storage/open.hpp"
#include "temp_dir.hpp"

/// A storage of its own for one test, on each adapter, with a clock that is moved by hand.
struct StorageRig {
  explicit StorageRig(const std::string& url) : StorageRig(config_of(url)) {}
  explicit StorageRig(stem::Config configuration) : config(std::move(configuration)), storage(open()) {}

  static stem::Config config_of(const std::string& url) {
    stem::Config config;
    config.broker_url = url;
    return config;
  }

  /// As another process, or another part of this one, would open it.
  stem::Storage open() { return stem::open_storage(config, clock); }
  stem::Broker& broker() { return *storage.broker; }
  stem::Store& store() { return *storage.results; }

  stem::Envelope job(const std::string& id, const std::string& queue = "default", int priority = 0) {
    stem::Envelope envelope;
    envelope.id = id;
    envelope.name = "test.task";
    envelope.queue = queue;
    envelope.priority = priority;
    envelope.enqueued_at = clock.wall();
    return envelope;
  }
  stem::Envelope delayed(const std::string& id, stem::Duration delay) {
    auto envelope = job(id);
    envelope.not_before = clock.wall() + delay;
    return envelope;
  }
  std::size_t publish(const std::vector<stem::Envelope>& jobs) { return broker().publish(jobs); }
  std::size_t enqueue(const std::vector<std::string>& ids) {
    std::vector<stem::Envelope> jobs;
    for (const auto& id : ids) jobs.push_back(job(id));
    return publish(jobs);
  }
  static stem::Demand demand(std::size_t limit = 100, std::vector<std::string> queues = {"default"}) {
    return {
        .queues = std::move(queues), .limit = limit, .lease = std::chrono::seconds{30}, .consumer = "rig"};
  }
  std::vector<stem::Delivery> fetch(std::size_t limit = 100) { return broker().fetch(demand(limit)); }
  stem::Delivery fetch_one() {
    auto deliveries = fetch(1);
    if (deliveries.size() != 1) throw std::runtime_error("no job was ready");
    return deliveries.front();
  }
  /// Ends one lease; whether it was still held.
  bool settle(const stem::Delivery& delivery, const stem::Disposition& disposition) {
    stem::Settlement settlement;
    settlement.receipt = delivery.receipt;
    settlement.disposition = disposition;
    return broker().settle({&settlement, 1}).empty();
  }
  bool settle(const stem::Delivery& delivery, const stem::Disposition& disposition,
              const stem::StoreWrite& record) {
    const stem::Settlement settlement{delivery.receipt, disposition, record};
    return broker().settle({&settlement, 1}).empty();
  }
  stem::QueueDepth depth(const std::string& queue = "default") {
    for (const auto& depth : broker().depths())
      if (depth.queue == queue) return depth;
    return {.queue = queue};
  }

  HandClock clock;
  stem::Config config;
  stem::Storage storage;
};

struct MemoryRig : StorageRig {
  MemoryRig() : StorageRig("memory://test-" + stem::new_id(stem::Clock::system().wall())) {}
};

struct SqliteDir {
  TempDir dir;
};
struct SqliteRig : SqliteDir, StorageRig {
  SqliteRig() : StorageRig("sqlite://" + (dir / "stem.db")) {}
  std::string path() const { return dir / "stem.db"; }
};

/// All on one server, each in a namespace of its own.
struct RedisRig : StorageRig {
  RedisRig() : StorageRig(RedisServer::shared().url("namespace=test-" + std::to_string(++rigs))) {}
  static inline int rigs = 0;
};

/// All in one database, each in a schema of its own.
struct PostgresRig : StorageRig {
  PostgresRig() : StorageRig(PostgresServer::shared().url("schema=test-" + std::to_string(++rigs))) {}
  std::string schema() const { return "test-" + std::to_string(number_); }
  static inline int rigs = 0;

 private:
  const int number_ = rigs;
};

inline std::vector<std::string> ids(const std::vector<stem::Delivery>& deliveries) {
  std::vector<std::string> ids;
  for (const auto& delivery : deliveries) ids.push_back(delivery.id);
  return ids;
}

using Ids = std::vector<std::string>;

/// Whether the descriptor polls readable within `milliseconds`.
inline bool readable(int fd, int milliseconds = 0) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&one, 1, milliseconds) > 0;
}
