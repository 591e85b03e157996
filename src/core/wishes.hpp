#pragma once

#include <optional>
#include <stem/envelope.hpp>
#include <stem/retry_policy.hpp>

namespace stem {

/// What a producer asked for one job, in its envelope's `meta` (docs/envelope.md).
struct Wishes {
  std::optional<int> max_retries{};
  std::optional<RetryPolicy> retry{};
  std::optional<WallTime> expires{};
  std::optional<Duration> result_ttl{};
  bool ignore_result = false;

  friend bool operator==(const Wishes&, const Wishes&) = default;
};

/// Adds them to the envelope's meta. Lengths are kept to the millisecond.
void put_wishes(Envelope& envelope, const Wishes& wishes);
/// Throws Error (exit 65) if `stem.expiresAt` is no time: a job that might be too late is not run. Whatever
/// else is not what it should be was not asked for.
Wishes wishes_of(const Envelope& envelope);

}  // namespace stem
