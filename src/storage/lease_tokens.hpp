#pragma once

#include <atomic>
#include <cstdint>
#include <random>

namespace stem {

/// Numbers that no two leases have, of whatever process: they count up from a random start, and are never 0.
/// Thread-safe.
class LeaseTokens {
 public:
  std::int64_t next() { return ++last_; }

 private:
  static std::int64_t random_start() {
    std::random_device device;
    return std::uniform_int_distribution<std::int64_t>(1, std::int64_t{1} << 61)(device);
  }

  std::atomic<std::int64_t> last_{random_start()};
};

}  // namespace stem
