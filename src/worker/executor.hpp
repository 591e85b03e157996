#pragma once

#include <functional>
#include <random>
#include <stem/signing.hpp>
#include <stem/task.hpp>

#include "worker/attempts.hpp"
#include "worker/child_pool.hpp"
#include "worker/counters.hpp"
#include "worker/job_inputs.hpp"
#include "worker/job_series.hpp"
#include "worker/leased_job.hpp"
#include "worker/rate_gate.hpp"

namespace stem {

/// What executors share; outlives them. `rules` and `tasks` are read-only.
struct ExecutorShared {
  const Registry& tasks;
  const Clock& clock;
  AttemptRules rules;
  std::optional<PayloadSigner> signer;        ///< jobs that it does not verify are dead; none = all are run
  Duration soft_time_limit, hard_time_limit;  ///< where a task has none of its own; 0 = none
  JobInputs inputs;
  RateGate rates;
  Counters counters;
  std::atomic<bool> stopping{false};  ///< handlers are asked to return
  std::function<void()> nudge;        ///< wakes the broker thread; thread-safe
  Tracer* tracer = nullptr;           ///< null = nothing is told to a collector
  std::string name_space{};           ///< for what is told
  JobSeriesBook series{};
  ChildPool* children = nullptr;  ///< where handlers run; null = on the threads of executors
};

/// Runs jobs one after another on the thread that calls it: parse, verify, match to a handler, call it, turn
/// what it says or throws into a settlement. Whatever a handler throws stays here.
class Executor {
 public:
  explicit Executor(ExecutorShared& shared);

  /// Before each wait for a job: where handlers run in children, waits until there is one for this executor.
  void prepare();

  /// After it, `job.settlement` is set and the job is finished, or the broker thread has abandoned it
  /// meanwhile.
  void run(LeasedJob& job);

 private:
  Settlement attempt(LeasedJob& job);
  /// What a job that is sound comes to without being run: it is too late, its turn has not come, …
  std::optional<Settlement> hindrance(LeasedJob& job);
  Outcome call(LeasedJob& job);
  JobSeries& series_of(const Registry::Task* task, const std::string& queue);
  void tell(const LeasedJob& job, bool ended) const;

  ExecutorShared& shared_;
  std::minstd_rand random_;
  std::optional<Failure> failure_;  ///< of the attempt that is recorded now
  struct Known {
    const Registry::Task* task;
    std::string queue;
    JobSeries* series;
  };
  std::vector<Known> known_;  ///< some of the series, so that most jobs take no lock to be counted
  PoolChild* const child_;    ///< where handlers run; null = on the calling thread
};

/// Why the job is not what a holder of the keys signed for this place; empty without a signer.
std::optional<SignatureFault> signature_fault(const Envelope& envelope, const Delivery& delivery,
                                              const std::optional<PayloadSigner>& signer);

/// What others wait for a job that no executor has read; null if nobody does, or it cannot be believed.
std::unique_ptr<const CanvasPart> read_canvas_part(const Delivery& delivery,
                                                   const std::optional<PayloadSigner>& signer);

}  // namespace stem
