#pragma once

#include <cstdint>
#include <stem/rate_limit.hpp>

namespace stem {

/// A token bucket as one number, so that it can be kept in a store and changed by compare-and-set: the
/// instant, in nanoseconds, at which the bucket will be full (generic cell rate algorithm). Nothing has to be
/// written while nobody takes anything.
struct TokenBucket {
  std::int64_t full_at = 0;  ///< 0, or any time that has passed = it is full

  struct Taken {
    int tokens = 0;   ///< up to what was wanted; 0 = none is there
    WallTime next{};  ///< when the next token will be there
    Duration ttl{};   ///< when the bucket is full again, and need not be remembered
  };
  /// Takes up to `wanted` tokens out of it.
  Taken take(const RateLimit& limit, WallTime now, int wanted);

  /// How long one token takes.
  static Duration interval(const RateLimit& limit);
};

}  // namespace stem
