#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/revocation.hpp"
#include "worker/engine_options.hpp"
#include "worker/executor_pool.hpp"
#include "worker/held_job.hpp"
#include "worker/unsettled.hpp"

namespace stem {

/// The jobs that this worker holds, from their delivery until they are settled and no executor has them any
/// more, and what becomes of each. For the broker thread.
class HeldJobs {
 public:
  /// All of them outlive it; `wake` is set when there is something to collect().
  HeldJobs(const EngineOptions& options, ExecutorShared& shared, const Clock& clock, SignalFd& wake);

  void start() { pool_.start(options_.concurrency); }

  using Revoked = std::function<const Revocation*(const std::string& id)>;
  /// To the executors; but what was revoked is cancelled. `leased`: by the broker; else they were heard.
  void take(std::vector<Delivery> deliveries, bool leased, const Revoked& revoked);
  /// Takes over what executors hand back. Returns whether there was anything.
  bool collect();
  /// Of leased jobs that no handler has begun, all but the first `keep` go back to the broker. Returns
  /// whether any did.
  bool put_back(std::size_t keep);
  /// The worker ends: all of what no handler has begun goes back, and what was heard is not done here.
  void clear();
  /// Of what no handler has begun, the jobs of these queues go back.
  void put_back(const std::vector<std::string>& queues);
  /// Running jobs go back at once; their handlers go on for nothing.
  void abandon();
  /// Attempts that have run past their hard time limit have failed, whatever their handlers still do. Returns
  /// whether there was one.
  bool expire();
  /// A job that waits is cancelled; a handler that runs it is asked to stop if the order says so, and its job
  /// is cancelled then. Returns whether one runs it.
  bool revoke(const Revocation& order);
  /// Other workers have these: handlers are asked to stop, and what waits is never begun.
  void lose(std::span<const Receipt> lost);
  /// No outcome will be taken any more.
  void give_up();
  /// Lets go of what is over.
  void forget();

  const std::vector<std::unique_ptr<LeasedJob>>& all() const { return jobs_; }
  std::vector<HeldJob> view() const;
  /// Those that wait and those that run, but for handlers that run on in vain.
  std::size_t undecided() const;
  bool all_settled() const;
  SteadyTime last_collected() const { return last_collected_; }
  /// The first hard time limit of a job that runs.
  std::optional<SteadyTime> next_deadline() const;

  Unsettled& unsettled() { return unsettled_; }
  const Unsettled& unsettled() const { return unsettled_; }
  ExecutorPool& pool() { return pool_; }
  const ExecutorPool& pool() const { return pool_; }

 private:
  void decide(LeasedJob& job, Settlement settlement);
  void release(LeasedJob& job, WallTime due);
  void end_revoked(LeasedJob& job);
  void tell(const LeasedJob& job, const char* state, const Failure& failure) const;
  bool is_suspect(const Delivery& delivery) const;

  const EngineOptions& options_;
  ExecutorShared& shared_;
  const Clock& clock_;
  std::vector<std::unique_ptr<LeasedJob>> jobs_;
  Unsettled unsettled_;
  SteadyTime last_collected_{};
  ExecutorPool pool_;  // goes first: its threads use the jobs
};

}  // namespace stem
