#include "worker/prefetch.hpp"

#include <algorithm>

#include "worker/counters.hpp"
#include "worker/engine_options.hpp"

namespace stem {
namespace {

/// Jobs are leased ahead for this long a stretch of work.
constexpr Duration ahead_for = std::chrono::milliseconds{20};

}  // namespace

std::size_t Prefetch::least() const {
  const auto free = std::max(0, options_.concurrency - counters_.stuck);
  return static_cast<std::size_t>(free) * static_cast<std::size_t>(options_.prefetch_multiplier);
}

void Prefetch::follow(std::size_t ended, Duration passed) {
  const auto pace = ended * static_cast<std::size_t>(ahead_for / Duration{1}) /
                    static_cast<std::size_t>(std::max(passed, Duration{std::chrono::milliseconds{1}}).count());
  now_ = std::clamp(pace, least(), std::max(least(), std::min(now_ * 2, options_.most_ahead)));
}

}  // namespace stem
