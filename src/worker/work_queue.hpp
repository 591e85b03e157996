#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "worker/leased_job.hpp"

namespace stem {

/// Jobs that are leased and wait for an executor. The broker thread puts, executors take.
class WorkQueue {
 public:
  void put(const std::vector<LeasedJob*>& jobs);
  /// Waits for a job; null once the queue is closed.
  LeasedJob* take();
  /// Takes all that no executor has taken yet.
  std::vector<LeasedJob*> drain();
  /// No more will come, and what waits is dropped; waiting executors return.
  void close();
  std::size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<LeasedJob*> jobs_;
  std::size_t waiting_ = 0;
  bool closed_ = false;
};

}  // namespace stem
