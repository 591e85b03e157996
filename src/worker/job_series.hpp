#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <stem/task.hpp>
#include <string>
#include <utility>

#include "core/histogram.hpp"
#include "core/metric_snapshot.hpp"

namespace stem {

/// What has happened to the jobs of one task from one queue. Any thread may count and read.
struct JobSeries {
  using Count = std::atomic<std::uint64_t>;

  Count started{0};
  Count succeeded{0}, failed{0}, retried{0}, revoked{0}, expired{0};
  Count limited{0};    ///< times that one went back because of its task's rate limit
  Count forged{0};     ///< unsigned, or not rightly signed
  Histogram duration;  ///< of handlers
  Histogram wait;      ///< of first attempts, from when they were due to when their handlers began
};

/// What has happened to the leases of one queue.
struct LeaseSeries {
  JobSeries::Count renewed{0};
  JobSeries::Count lost{0};  ///< to another worker
};

/// What a worker counts for each task and queue, for whoever reads it. A task that is not registered is
/// `unknown`: what it is called is up to whoever sends it. No more than `most` pairs of task and queue are
/// told apart, the rest is `other`. Thread-safe; the lock is for the lists alone, what is counted takes none.
class JobSeriesBook {
 public:
  static constexpr std::size_t most = 200;
  static constexpr std::size_t most_callbacks = 50;

  JobSeriesBook();
  ~JobSeriesBook();

  /// Lives as long as this does. `task` is null for one that is not registered.
  JobSeries& of(const Registry::Task* task, const std::string& queue);
  LeaseSeries& leases_of(const std::string& queue);
  /// The callback of a chord was enqueued.
  void count_chord(const std::string& callback);

  void measure(MetricSnapshot& snapshot) const;

 private:
  using Pair = std::pair<std::string, std::string>;  // task and queue

  mutable std::mutex mutex_;
  std::map<Pair, std::unique_ptr<JobSeries>> jobs_;
  std::map<std::string, std::unique_ptr<LeaseSeries>> leases_;
  std::map<std::string, std::uint64_t> chords_;
};

}  // namespace stem
