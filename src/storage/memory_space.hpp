#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>

#include "storage/broker.hpp"

namespace stem {

/// What the brokers and stores of one name share. `mutex` guards all the rest; whoever changes something
/// holds it.
struct MemorySpace {
  struct Lease {
    std::int64_t token;
    WallTime until;
    std::string consumer;
  };
  struct Dead {
    std::string reason;
    Json meta;
    WallTime at;
    std::int64_t order;  // of two that died at the same time, the later is the newer
  };
  struct Job {
    std::string id;
    std::string queue;
    std::string wire;
    int priority = 0;
    int attempt = 0;
    int deliveries = 0;      // that came to no end
    WallTime since;          // when it became ready, or will
    std::int64_t place = 0;  // among the jobs of its queue and priority
    std::optional<Duration> asked_lease;
    std::optional<Lease> lease;  // may have ended
    std::optional<Dead> dead;
  };
  struct Queue {
    std::array<std::map<std::int64_t, std::int64_t>, 10>
        lanes;  // by priority: place to job, leased ones included
    std::set<std::pair<WallTime, std::int64_t>> delayed;
  };

  struct Message {
    std::string wire;
    WallTime expires;
  };
  using Channel = std::map<std::int64_t, Message>;  // by number

  std::mutex mutex;
  std::condition_variable written;  // a value of the store
  std::map<std::string, Queue> queues;
  std::unordered_map<std::int64_t, Job> jobs;
  std::unordered_map<std::string, std::int64_t> ids;
  std::map<std::string, StoreEntry> entries;
  std::map<std::string, Channel> channels;
  std::set<int> wake_fds;  // of the open brokers
  std::int64_t last = 0;   // numbers jobs, places, tokens, versions and messages

  std::int64_t next() { return ++last; }
  void wake() const;
  void write(const StoreWrite& write, WallTime now);
  /// The entry if there is one that has not expired.
  const StoreEntry* look_up(const std::string& key, WallTime now) const;
  bool hold(const std::vector<StoreGuard>& guards, WallTime now) const;
};

}  // namespace stem
