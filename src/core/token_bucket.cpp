#include "core/token_bucket.hpp"

#include <algorithm>

namespace stem {
namespace {

std::int64_t token_nanos(const RateLimit& limit) {
  return std::max<std::int64_t>(1, std::chrono::nanoseconds(limit.per).count() / limit.count);
}

/// The first microsecond that is not before it.
WallTime wall_time(std::int64_t nanos) {
  return WallTime(Duration((nanos + 999) / 1000));
}

}  // namespace

Duration TokenBucket::interval(const RateLimit& limit) {
  return Duration((token_nanos(limit) + 999) / 1000);
}

TokenBucket::Taken TokenBucket::take(const RateLimit& limit, WallTime now, int wanted) {
  const auto token = token_nanos(limit);
  const auto at = std::chrono::nanoseconds(now.time_since_epoch()).count();
  const auto whole = token * limit.capacity();
  // Whoever made the limit smaller, or set a clock back, does not wait longer than for an empty bucket.
  full_at = std::clamp(full_at, at, at + whole);
  const auto there = (at + whole - full_at) / token;
  Taken taken;
  taken.tokens = static_cast<int>(std::min<std::int64_t>(there, wanted));
  full_at += token * taken.tokens;
  taken.next = wall_time(std::max(at, full_at + token - whole));
  taken.ttl = std::max(wall_time(full_at) - now, Duration{1});
  return taken;
}

}  // namespace stem
