#pragma once

#include <algorithm>
#include <cstddef>
#include <stem/time.hpp>

namespace stem {

struct Counters;
struct EngineOptions;

/// How many jobs a worker holds at once: the prefetch multiplier's for each executor that is free of stuck
/// handlers and has a process if it needs one, and more while handlers are quick. For the broker thread.
class Prefetch {
 public:
  /// Both outlive it.
  Prefetch(const EngineOptions& options, const Counters& counters) : options_(options), counters_(counters) {}

  /// What the multiplier asks for.
  std::size_t least() const;
  /// What the pace asks for, and never below the least: handlers that were stuck may have come back since.
  std::size_t now() const { return std::max(now_, least()); }
  /// `ended` jobs in `passed`, of which the broker took `answer` to answer.
  void follow(std::size_t ended, Duration passed, Duration answer);
  /// The handlers no longer have the pace.
  void calm() { now_ = least(); }

 private:
  const EngineOptions& options_;
  const Counters& counters_;
  std::size_t now_ = 0;
};

}  // namespace stem
