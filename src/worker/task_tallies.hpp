#pragma once

#include <map>
#include <stem/json.hpp>
#include <stem/task.hpp>
#include <string>
#include <unordered_map>

#include "core/run_times.hpp"
#include "worker/leased_job.hpp"

namespace stem {

/// What became of the jobs of each task, and of each queue, since the worker started. As many entries as
/// tasks are registered and queues have been served. For the broker thread only.
class TaskTallies {
 public:
  enum class End { done, failed, retried, cancelled };

  /// For a job that is over, as far as the broker knows. One whose task is not known counts for its queue
  /// only, one that was heard on a channel for its task only.
  void count(const LeasedJob& job, End end);

  /// The tasks that ended most often, `most_told` of them: `{"task", "done", "failed", "retried",
  /// "cancelled", "tookMs", "times"}`, where `tookMs` is the sum of `times`.
  Json tasks() const;
  /// `{QUEUE: {"done", "failed", "retried", "cancelled"}}`.
  Json queues() const;

  static constexpr std::size_t most_told = 32;

 private:
  struct Ends {
    std::uint64_t of[4]{};
    std::uint64_t all() const { return of[0] + of[1] + of[2] + of[3]; }
    Json json() const;
  };
  struct Tally {
    Ends ends;
    Duration took{};
    RunTimes times;
  };

  std::unordered_map<const Registry::Task*, Tally> tasks_;
  std::map<std::string, Ends> queues_;
  std::pair<const std::string, Ends>* last_queue_ = nullptr;  // jobs of one queue come together
};

}  // namespace stem
