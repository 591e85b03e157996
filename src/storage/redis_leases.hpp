#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "storage/broker.hpp"

namespace stem {

/// The leases that this process holds, or believes to hold: where their jobs are on the server, for which a
/// receipt has no room. Thread-safe.
class RedisLeases {
 public:
  struct Lease {
    std::int64_t token = 0;
    std::string queue;
    std::string entry;
    std::string id;
    std::string wire;
    int priority = 0;
    int attempt = 0;
  };

  Receipt add(Lease lease);
  std::optional<Lease> held(const Receipt& receipt) const;
  void drop(const Receipt& receipt);

 private:
  mutable std::mutex mutex_;
  std::int64_t number_ = 0;
  std::unordered_map<std::int64_t, Lease> leases_;
};

}  // namespace stem
