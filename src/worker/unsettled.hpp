#pragma once

#include <vector>

#include "storage/open.hpp"
#include "worker/counters.hpp"
#include "worker/job_series.hpp"
#include "worker/leased_job.hpp"
#include "worker/task_tallies.hpp"

namespace stem {

/// Outcomes that the broker has not taken yet, and whose they are. For the broker thread only.
class Unsettled {
 public:
  /// Both outlive it.
  Unsettled(Counters& counters, JobSeriesBook& series) : counters_(counters), series_(series) {}

  bool empty() const { return settlements_.empty(); }
  std::size_t size() const { return settlements_.size(); }
  std::size_t begun() const;  ///< of how many a handler was called: the others say nothing of its pace
  const std::vector<Settlement>& settlements() const { return settlements_; }
  const TaskTallies& tallies() const { return tallies_; }
  const LeasedJob& job(std::size_t i) const { return *jobs_[i]; }  ///< whose settlement settlements()[i] is
  SteadyTime since() const { return since_; }  ///< when the oldest of them came; meaningless if empty

  /// A job that was not leased is over with it.
  void add(LeasedJob& job, Settlement settlement, SteadyTime now);

  /// Where records and jobs are in two systems: the record first, so that an acknowledged job always has one;
  /// and only for leases that are still ours, or a successor's record would be overwritten.
  void write_records(const Storage& storage, Duration lease);

  /// The broker has taken all of them, but for those of these lost leases.
  void taken(const std::vector<Receipt>& lost);

  /// Leaves them to the end of their leases.
  void drop();

 private:
  void count(const LeasedJob& job, TaskTallies::End end);
  void count(const LeasedJob& job, const Disposition& disposition);
  void count_heard(const LeasedJob& job, const Disposition& disposition);
  void count_end(const LeasedJob& job);
  JobSeries& series_of(const LeasedJob& job);

  Counters& counters_;
  JobSeriesBook& series_;
  TaskTallies tallies_;
  std::vector<Settlement> settlements_;
  std::vector<LeasedJob*> jobs_;  ///< in the same order
  SteadyTime since_{};
};

}  // namespace stem
