#pragma once

#include <vector>

#include "storage/broker.hpp"
#include "worker/hearing.hpp"
#include "worker/subscriptions.hpp"

namespace stem {

/// Hears the jobs that are said on the channels of a worker's subscriptions from begin() on. For the broker
/// thread.
class BroadcastListener {
 public:
  /// All of them outlive it.
  BroadcastListener(Broker& broker, const Subscriptions& subscriptions, const Clock& clock)
      : broker_(broker), subscriptions_(subscriptions), clock_(clock) {}

  /// What is said from now on will be heard. Throws as the broker does.
  void begin();
  /// Something may have been said.
  void wake();
  /// When to hear() next.
  SteadyTime next() const { return hearing_.next(); }
  /// At most `limit` jobs of each channel, as nobody's lease. What is no job is logged and left out. Throws
  /// as the broker does; then nothing was heard.
  std::vector<Delivery> hear(std::size_t limit);

 private:
  void follow();

  Broker& broker_;
  const Subscriptions& subscriptions_;
  const Clock& clock_;
  std::vector<Listening> ears_;
  Hearing hearing_;
};

}  // namespace stem
