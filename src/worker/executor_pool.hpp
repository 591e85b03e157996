#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "worker/executor.hpp"
#include "worker/signal_fd.hpp"
#include "worker/work_queue.hpp"

namespace stem {

/// The threads that run handlers, the line of jobs before them and the tray of jobs behind them. All
/// functions are for the broker thread. What ends the wait of an executor: a job in the line, or close().
class ExecutorPool {
 public:
  /// `shared` and `wake` outlive it. `wake` is set when there is something to collect().
  ExecutorPool(ExecutorShared& shared, SignalFd& wake) : shared_(shared), wake_(wake) {}
  /// close(); then waits for handlers that still run.
  ~ExecutorPool();

  void start(int threads);
  void put(const std::vector<LeasedJob*>& jobs) { line_.put(jobs); }
  /// Jobs that no executor has begun.
  std::size_t waiting() const { return line_.size(); }
  /// Takes those of them that `goes` names, which is asked in their order, and gives them back; the others
  /// keep their order.
  std::vector<LeasedJob*> take_out(const std::function<bool(const LeasedJob&)>& goes);
  /// Finished and abandoned jobs, each once.
  std::vector<LeasedJob*> collect();
  /// While it is on, only a line that runs dry is a reason to set `wake`.
  void gather(bool on) { gathering_ = on; }
  /// No more jobs are begun.
  void close() { line_.close(); }

 private:
  void loop();

  ExecutorShared& shared_;
  SignalFd& wake_;
  WorkQueue line_;
  std::mutex returned_mutex_;
  std::vector<LeasedJob*> returned_;
  std::atomic<bool> gathering_{false};
  std::vector<std::thread> threads_;
};

}  // namespace stem
