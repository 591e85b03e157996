#pragma once

#include <mutex>
#include <optional>
#include <stem/task.hpp>
#include <string>
#include <vector>

#include "worker/child_frame.hpp"
#include "worker/counters.hpp"
#include "worker/fork_server.hpp"
#include "worker/leased_job.hpp"

namespace stem {

class ChildPool;

/// A process that runs handlers, for people.
struct ChildView {
  int index = 0;
  pid_t pid = 0;  ///< 0 = there is none now
  std::uint64_t jobs = 0;
  std::uint64_t memory = 0;  ///< bytes, after its last job
  bool busy = false;
};

Json to_json(const std::vector<ChildView>& children);

/// The place of one child in the pool, and whichever process holds it now. prepare() and run() are for one
/// executor thread, the rest for any.
class PoolChild {
 public:
  PoolChild(ChildPool& pool, int index) : pool_(pool), index_(index) {}

  /// Waits until a child is ready. Those that end before they are make it wait longer each time. Returns
  /// without one if the pool is closed or lost.
  void prepare();
  /// Runs the job's handler in the child. Throws HandlerFailed if it threw, took its process along, or ran
  /// past the hard time limit, which ends the process. Time limits begin when the child is ready. A job that
  /// no handler has begun for want of a child goes back.
  Outcome run(LeasedJob& job, TaskContext& context);

  void look(bool stopping, bool now);
  /// Kills what the child has started, once the process that would do that is lost.
  void end_group();
  ChildView view() const;

 private:
  bool ready();
  bool start();
  bool greet();
  void let_go();
  void retire(const char* why);
  bool has_ended() const;
  std::string bury();
  void failed_to_start(const std::string& why);
  void can_start(bool can);
  void finish(std::uint64_t memory);
  /// How long the job has waited for its child.
  Outcome converse(LeasedJob& job, TaskContext& context, Duration waited);
  Outcome end_of_process();
  [[noreturn]] void end_by_limit(const LeasedJob& job);

  ChildPool& pool_;
  const int index_;

  /// Held by the executor but while it waits for a job; the broker thread takes it if it is free. Who holds
  /// it may replace the process.
  std::mutex hands_;

  mutable std::mutex mutex_;  ///< for what all threads read
  const LeasedJob* job_ = nullptr;
  bool ended_by_stop_ = false;
  std::uint64_t jobs_ = 0, memory_ = 0;
  // Written under both.
  ForkServer::Child process_;
  bool greeted_ = false;

  // Under hands_.
  ChildChannel channel_;
  bool childless_ = false;  ///< counted as such
  unsigned renewed_ = 0;
  int failures_ = 0;  ///< in a row, of processes that ended before they had done anything
  SteadyTime started_{}, next_try_{};
};

}  // namespace stem
