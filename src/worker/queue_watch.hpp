#pragma once

#include <atomic>
#include <mutex>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "core/metric_snapshot.hpp"
#include "storage/broker.hpp"

namespace stem {

/// How much waits in the queues of a worker, and for how long, as it was found at the last look. A look is a
/// question to the broker, so there is one only while somebody wants to know. look() and due() are for the
/// broker thread, the rest is thread-safe.
class QueueWatch {
 public:
  /// `clock` outlives it.
  QueueWatch(const Clock& clock, Duration interval) : clock_(clock), interval_(interval) {}

  /// From now on, for so long. Returns whether nobody wanted to know before.
  bool want(Duration length);
  /// Whether it is time to look. Never when nobody wants to know; at once for the first who does.
  bool due() const;
  /// Looks. A broker that cannot tell is asked again the next time; until then nothing is known.
  void look(Broker& broker, const std::vector<std::string>& queues);

  /// Nothing, where nothing is known. `labels` are added to the queue's.
  void measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels) const;

  /// Queues that are told of.
  static constexpr std::size_t most = 200;

 private:
  struct Found {
    std::string queue;
    std::int64_t waiting = 0, delayed = 0, dead = 0;
    Duration lag{};
  };

  const Clock& clock_;
  const Duration interval_;
  std::atomic<SteadyTime::rep> wanted_until_{0};
  std::atomic<bool> hasty_{false};
  SteadyTime next_{};
  bool failing_ = false;
  mutable std::mutex mutex_;
  std::vector<Found> found_;
};

}  // namespace stem
