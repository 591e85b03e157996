#include "worker/prefetch.hpp"

#include <algorithm>

#include "worker/counters.hpp"
#include "worker/engine_options.hpp"

namespace stem {
namespace {

/// Jobs are leased ahead for this long a stretch of work, or for twice as long as the broker takes to answer:
/// handlers that have nothing to do meanwhile would look slow, and be given less and less.
constexpr Duration ahead_for = std::chrono::milliseconds{20};
constexpr Duration longest_ahead = std::chrono::seconds{1};

}  // namespace

std::size_t Prefetch::least() const {
  const auto free = std::max(0, options_.concurrency - counters_.stuck - counters_.childless);
  return static_cast<std::size_t>(free) * static_cast<std::size_t>(options_.prefetch_multiplier);
}

void Prefetch::follow(std::size_t ended, Duration passed, Duration answer) {
  const auto stretch = std::clamp(2 * answer, ahead_for, longest_ahead);
  const auto pace =
      ended * static_cast<std::size_t>(stretch / Duration{1}) /
      static_cast<std::size_t>(std::max(passed, Duration{std::chrono::milliseconds{1}}).count());
  const auto least = this->least();  // once: other threads count
  now_ = std::clamp(pace, least, std::max(least, std::min(now_ * 2, options_.most_ahead)));
}

}  // namespace stem
