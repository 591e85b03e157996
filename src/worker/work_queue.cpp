#include "worker/work_queue.hpp"

namespace stem {

void WorkQueue::put(const std::vector<LeasedJob*>& jobs) {
  bool wake;
  {
    const std::lock_guard lock(mutex_);
    jobs_.insert(jobs_.end(), jobs.begin(), jobs.end());
    wake = waiting_ > 0 && !jobs.empty();
  }
  if (wake) filled_.notify_one();
}

LeasedJob* WorkQueue::take() {
  std::unique_lock lock(mutex_);
  const bool slept = jobs_.empty() && !closed_;
  ++waiting_;
  filled_.wait(lock, [&] { return closed_ || !jobs_.empty(); });
  --waiting_;
  if (jobs_.empty()) return nullptr;
  LeasedJob* job = jobs_.front();
  jobs_.pop_front();
  // Whoever was woken wakes the next: the broker thread pays for one call, and quick jobs wake few threads.
  const bool pass_on = slept && !jobs_.empty() && waiting_ > 0;
  lock.unlock();
  if (pass_on) filled_.notify_one();
  return job;
}

std::vector<LeasedJob*> WorkQueue::drain() {
  const std::lock_guard lock(mutex_);
  std::vector<LeasedJob*> rest(jobs_.begin(), jobs_.end());
  jobs_.clear();
  return rest;
}

void WorkQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    jobs_.clear();
  }
  filled_.notify_all();
}

std::size_t WorkQueue::size() const {
  const std::lock_guard lock(mutex_);
  return jobs_.size();
}

}  // namespace stem
