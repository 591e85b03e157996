#include "core/histogram.hpp"

#include <algorithm>

namespace stem {

void Histogram::add(Duration length) {
  constexpr auto relaxed = std::memory_order_relaxed;
  const auto micros = std::max<std::int64_t>(length.count(), 0);
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), micros) - bounds.begin();
  for (auto least = min_.load(relaxed);
       micros < least && !min_.compare_exchange_weak(least, micros, relaxed);) {
  }
  for (auto most = max_.load(relaxed); micros > most && !max_.compare_exchange_weak(most, micros, relaxed);) {
  }
  sum_.fetch_add(micros, relaxed);
  counts_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_release);
}

MetricPoint::Spread Histogram::spread() const {
  constexpr auto seconds = [](std::int64_t micros) { return static_cast<double>(micros) / 1e6; };
  MetricPoint::Spread spread;
  spread.bounds.reserve(bounds.size());
  for (const auto bound : bounds) spread.bounds.push_back(seconds(bound));
  spread.counts.reserve(counts_.size());
  for (const auto& count : counts_) {
    spread.counts.push_back(count.load(std::memory_order_acquire));
    spread.count += spread.counts.back();
  }
  if (spread.count == 0) return spread;
  spread.sum = seconds(sum_.load(std::memory_order_relaxed));
  spread.min = seconds(min_.load(std::memory_order_relaxed));
  spread.max = seconds(max_.load(std::memory_order_relaxed));
  return spread;
}

}  // namespace stem
