#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "worker/pool_child.hpp"

namespace stem {

/// The children that run the handlers of one worker: one for each executor, each replaced when it ends or has
/// done enough. Thread-safe but for claim().
class ChildPool {
 public:
  struct Rules {
    int max_tasks = 0;             ///< a child is replaced after so many jobs; 0 = never
    std::uint64_t max_memory = 0;  ///< bytes; and after a job that left it larger than this; 0 = never
  };
  /// The pool is as large as `forks` allows. `forks`, `clock` and `counters` outlive it. `wake`, an event
  /// descriptor, is set when a child has ended.
  ChildPool(ForkServer& forks, Rules rules, const Clock& clock, Counters& counters, int wake);

  /// A child for an executor of its own. Not more often than the pool is large.
  PoolChild* claim();
  /// For the broker thread, at each turn: tells children whose jobs are to end soon, and replaces those that
  /// have ended without a job. `stopping`: that is all of them; `now`: they are killed, and their jobs go
  /// back.
  void look(bool stopping, bool now);
  /// Each child is replaced before its next job: by one that has the configuration, and the log, as they are
  /// now.
  void renew(const std::string& log_level);
  /// No child is started any more, and no job begun; who waits for one returns.
  void close();

  std::vector<ChildView> view() const;
  /// Whether there will be no children any more. The worker cannot go on.
  bool lost() const { return lost_; }

 private:
  friend class PoolChild;
  /// Waits until then, or for close().
  void rest(Duration length);
  /// Wakes the broker thread.
  void nudge() const;

  ForkServer& forks_;
  const Rules rules_;
  const Clock& clock_;
  Counters& counters_;
  const int wake_;
  std::atomic<bool> lost_{false}, closed_{false};
  bool groups_ended_ = false;  ///< the broker thread's own
  std::atomic<unsigned> renewed_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string log_level_ = "info";
  std::atomic<int> claimed_{0};
  std::vector<std::unique_ptr<PoolChild>> children_;
};

}  // namespace stem
