#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/histogram.hpp"
#include "core/metric_snapshot.hpp"

namespace stem {

/// What has happened to the slots of one schedule. Any thread may count and read.
struct ScheduleSeries {
  using Count = std::atomic<std::uint64_t>;

  Count attempts{0};   ///< jobs of slots, where it is known what became of them
  Count published{0};  ///< of them
  Count failed{0};     ///< of them those that could not be made: their slots are given up
  Histogram duration;  ///< of the commits that its jobs were part of
  Histogram drift;     ///< how far from its due time a job was published
};

/// What a scheduler counts, for whoever reads it. No more than `most` schedules are told apart, the rest is
/// `other`. Thread-safe; the lock is for the list alone.
class ScheduleSeriesBook {
 public:
  static constexpr std::size_t most = 200;
  /// A schedule that is later than this is overdue.
  static constexpr Duration overdue_after = std::chrono::seconds{10};

  /// Lives as long as this does.
  ScheduleSeries& of(const std::string& schedule);
  /// `labels` are for what is not of one schedule.
  void measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels = {}) const;

  using Count = ScheduleSeries::Count;
  Count locks_acquired{0};                       ///< times that this scheduler began to lead
  Count locks_contended{0};                      ///< times that it looked and another led
  Count renewals_failed{0};                      ///< times that it lost the lead
  Count commits_failed{0};                       ///< to be tried again: nothing was given up
  std::atomic<std::int64_t> due{0}, overdue{0};  ///< schedules, at the last look
  Histogram overdue_lag;                         ///< how late overdue schedules were when they ran

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<ScheduleSeries>> schedules_;
};

}  // namespace stem
