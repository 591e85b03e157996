#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <stem/time.hpp>

#include "core/metric_snapshot.hpp"

namespace stem {

/// How long things took, counted in the buckets of docs/metrics.md. Thread-safe, without locks: who reads it
/// while others count sees each of them whole or not yet.
class Histogram {
 public:
  /// Upper ends of the buckets, in microseconds; what is longer than the last one goes into a bucket of its
  /// own.
  static constexpr std::array<std::int64_t, 16> bounds{
      5'000,     10'000,    25'000,    50'000,     100'000,    250'000,    500'000,     1'000'000,
      2'500'000, 3'000'000, 5'000'000, 10'000'000, 30'000'000, 60'000'000, 300'000'000, 1'800'000'000};

  /// What is negative, as two clocks that differ may make it, counts as nothing.
  void add(Duration length);

  /// In seconds.
  MetricPoint::Spread spread() const;

 private:
  std::array<std::atomic<std::uint64_t>, bounds.size() + 1> counts_{};
  std::atomic<std::int64_t> sum_{0}, min_{INT64_MAX}, max_{0};
};

}  // namespace stem
