#include "worker/subscriptions.hpp"

#include <algorithm>

namespace stem {

void Subscriptions::serve(std::vector<std::string> queues, std::vector<std::string> channels) {
  const std::lock_guard lock(mutex_);
  queues_ = std::move(queues);
  channels_ = std::move(channels);
}

bool Subscriptions::pause(const std::vector<std::string>& queues) {
  std::set<std::string> paused(queues.begin(), queues.end());
  const std::lock_guard lock(mutex_);
  if (paused == paused_) return false;
  paused_.swap(paused);
  return true;
}

std::vector<std::string> Subscriptions::queues() const {
  const std::lock_guard lock(mutex_);
  return queues_;
}

std::vector<std::string> Subscriptions::channels() const {
  const std::lock_guard lock(mutex_);
  return channels_;
}

std::vector<std::string> Subscriptions::paused() const {
  return queues_that(true);
}
std::vector<std::string> Subscriptions::open() const {
  return queues_that(false);
}

std::vector<std::string> Subscriptions::queues_that(bool paused) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> found;
  std::copy_if(queues_.begin(), queues_.end(), std::back_inserter(found),
               [&](const auto& queue) { return paused_.contains(queue) == paused; });
  return found;
}

}  // namespace stem
