#include "worker/executor_pool.hpp"

#include <pthread.h>

namespace stem {

ExecutorPool::~ExecutorPool() {
  close();
  for (auto& thread : threads_) thread.join();
}

void ExecutorPool::start(int threads) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { loop(); });
}

void ExecutorPool::loop() {
  pthread_setname_np(pthread_self(), "stem-executor");
  Executor executor(shared_);
  for (;;) {
    executor.prepare();
    LeasedJob* job = line_.take();
    if (!job) break;
    executor.run(*job);
    bool first;
    {
      const std::lock_guard lock(returned_mutex_);
      first = returned_.empty();
      returned_.push_back(job);
    }
    if (gathering_ ? line_.size() == 0 : first) wake_.set();
  }
}

std::vector<LeasedJob*> ExecutorPool::take_out(const std::function<bool(const LeasedJob&)>& goes) {
  std::vector<LeasedJob*> out, rest;
  for (auto* job : line_.drain()) (goes(*job) ? out : rest).push_back(job);
  for (auto* job : out) job->give_back();
  line_.put(rest);
  return out;
}

std::vector<LeasedJob*> ExecutorPool::collect() {
  std::vector<LeasedJob*> returned;
  const std::lock_guard lock(returned_mutex_);
  returned.swap(returned_);
  return returned;
}

}  // namespace stem
