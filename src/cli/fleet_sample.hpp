#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "worker/fleet.hpp"

namespace stem::cli {

/// What is known of queues and workers at one moment.
struct FleetSample {
  WallTime at{};
  std::vector<Heartbeat> beats;
  std::vector<QueueDepth> depths;
  std::vector<PausedQueue> paused;
};

/// Of `nodes` only, or of all. Throws Error as the storage does.
FleetSample take_sample(Fleet& fleet, const std::vector<std::string>& nodes);

/// A queue, and who takes jobs from it.
struct QueueState {
  QueueDepth depth;
  std::optional<Duration> lag;       ///< how long the job that has waited longest has been ready
  std::vector<std::string> workers;  ///< that live and serve it, by node name, without those of a pause
  std::vector<PausedQueue> pauses;

  /// Whether no worker at all takes from it.
  bool paused_for_all() const;
  bool forsaken() const { return workers.empty() && depth.ready > 0; }
};

/// Every queue that holds a job. Without `sample`'s workers and pauses if it has none.
std::vector<QueueState> queue_states(const std::vector<QueueDepth>& depths, WallTime now);
/// Every queue that holds a job, is served or is paused; by name.
std::vector<QueueState> queue_states(const FleetSample& sample);

}  // namespace stem::cli
