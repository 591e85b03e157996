#include "worker/queue_watch.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace stem {

bool QueueWatch::want(Duration length) {
  const auto now = clock_.steady();
  const auto until = (now + length).time_since_epoch().count();
  auto before = wanted_until_.load();
  while (before < until && !wanted_until_.compare_exchange_weak(before, until)) {
  }
  if (before > now.time_since_epoch().count()) return false;
  const std::lock_guard lock(mutex_);
  found_.clear();  // it may be old
  hasty_ = true;
  return true;
}

bool QueueWatch::due() const {
  const auto now = clock_.steady();
  return now.time_since_epoch().count() < wanted_until_ && (hasty_ || now >= next_);
}

void QueueWatch::look(Broker& broker, const std::vector<std::string>& queues) {
  const auto begun = clock_.steady();
  hasty_ = false;
  std::vector<Found> found;
  try {
    const auto depths = broker.depths();
    const auto now = clock_.wall();
    for (const auto& queue : queues) {
      if (found.size() >= most) break;
      Found one{queue, 0, 0, 0, {}};
      const auto depth =
          std::find_if(depths.begin(), depths.end(), [&](const auto& each) { return each.queue == queue; });
      if (depth != depths.end()) {
        one.waiting = depth->ready + depth->delayed;
        one.delayed = depth->delayed;
        one.dead = depth->dead;
        if (depth->oldest_ready)
          one.lag = std::max(Duration::zero(), duration_cast<Duration>(now - *depth->oldest_ready));
      }
      found.push_back(std::move(one));
    }
    failing_ = false;
  } catch (const Error& error) {
    if (!failing_) spdlog::warn("the depths of the queues are not known: {}; trying again", error.what());
    failing_ = true;
  }
  // At each heartbeat, whose wake-up this shares; but a broker that takes long to count is not kept busy with
  // it.
  const auto took = clock_.steady() - begun;
  next_ = begun + std::max<SteadyTime::duration>(interval_ * 9 / 10, took * 20);
  const std::lock_guard lock(mutex_);
  found_ = std::move(found);
}

void QueueWatch::measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels) const {
  // What was found long ago is not told as if it were so now.
  if (clock_.steady().time_since_epoch().count() >= wanted_until_) return;
  const std::lock_guard lock(mutex_);
  for (const auto& one : found_) {
    MetricPoint::Labels all{{"queue", one.queue}};
    all.insert(all.end(), labels.begin(), labels.end());
    snapshot.gauge("stem.queue.depth", "",
                   "Jobs that wait in the queue, those that are not due yet included, at the last heartbeat.",
                   all, static_cast<double>(one.waiting));
    snapshot.gauge("stem.queue.delayed", "", "Jobs of the queue that are not due yet, at the last heartbeat.",
                   all, static_cast<double>(one.delayed));
    snapshot.gauge("stem.queue.lag", "s",
                   "How long the oldest job that may run has waited, at the last heartbeat.", all,
                   static_cast<double>(one.lag.count()) / 1e6);
    snapshot.gauge("stem.dead_letters", "", "Jobs in the dead-letter queue, at the last heartbeat.",
                   std::move(all), static_cast<double>(one.dead));
  }
}

}  // namespace stem
