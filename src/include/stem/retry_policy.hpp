#pragma once

#include <stem/time.hpp>

namespace stem {

/// When a failed attempt is tried again: min(base * factor^n, cap) after the failure of attempt n (from 0),
/// less a random part of up to `jitter` of it, so that jobs that failed together do not come back together.
struct RetryPolicy {
  Duration base = std::chrono::seconds{2};
  Duration cap = std::chrono::minutes{5};
  double factor = 2.0;   ///< 1 = the same delay each time
  double jitter = 0.25;  ///< 0 to 1

  /// `random` is uniform in [0, 1).
  Duration delay(int attempt, double random) const;
  /// Throws Error (exit 78) that names the field and its bounds.
  void validate() const;

  friend bool operator==(const RetryPolicy&, const RetryPolicy&) = default;
};

}  // namespace stem
