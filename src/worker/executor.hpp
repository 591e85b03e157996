#pragma once

#include <functional>
#include <random>
#include <stem/signing.hpp>
#include <stem/task.hpp>

#include "worker/attempts.hpp"
#include "worker/counters.hpp"
#include "worker/leased_job.hpp"

namespace stem {

/// What executors share; outlives them. `rules` and `tasks` are read-only.
struct ExecutorShared {
  const Registry& tasks;
  const Clock& clock;
  AttemptRules rules;
  std::optional<PayloadSigner> signer;                ///< jobs that it does not verify are dead; none = all are run
  Duration soft_time_limit, hard_time_limit;  ///< where a task has none of its own; 0 = none
  Counters counters;
  std::atomic<bool> stopping{false};  ///< handlers are asked to return
  std::function<void()> nudge;        ///< wakes the broker thread; thread-safe
};

/// Runs jobs one after another on the thread that calls it: parse, verify, match to a handler, call it, turn what it
/// says or throws into a settlement. Whatever a handler throws stays here.
class Executor {
 public:
  explicit Executor(ExecutorShared& shared) : shared_(shared), random_(std::random_device{}()) {}

  /// After it, `job.settlement` is set and the job is finished, or the broker thread has abandoned it
  /// meanwhile.
  void run(LeasedJob& job);

 private:
  Settlement attempt(LeasedJob& job);
  std::optional<SignatureFault> signature_fault(const LeasedJob& job) const;
  Outcome call(LeasedJob& job);

  ExecutorShared& shared_;
  std::minstd_rand random_;
};

}  // namespace stem
