#include <algorithm>
#include <cmath>
#include <stem/error.hpp>
#include <stem/retry_policy.hpp>

namespace stem {

Duration RetryPolicy::delay(int attempt, double random) const {
  // In double, so that a large attempt saturates at the cap instead of overflowing.
  const double grown = static_cast<double>(base.count()) * std::pow(factor, std::max(attempt, 0));
  const double capped = std::min(grown, static_cast<double>(cap.count()));
  return Duration{static_cast<Duration::rep>(capped * (1.0 - jitter * random))};
}

void RetryPolicy::validate() const {
  if (base < Duration::zero()) throw Error(Exit::config, "retry base must not be negative");
  if (cap < base)
    throw Error(Exit::config,
                "retry cap " + format_duration(cap) + " must not be below its base " + format_duration(base));
  if (!(factor >= 1.0 && factor <= 100.0)) throw Error(Exit::config, "retry factor must be from 1 to 100");
  if (!(jitter >= 0.0 && jitter <= 1.0)) throw Error(Exit::config, "retry jitter must be from 0 to 1");
}

}  // namespace stem
