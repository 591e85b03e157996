#include "cli/fleet_sample.hpp"

#include <algorithm>
#include <map>

#include "core/name.hpp"

namespace stem::cli {
namespace {

QueueState state_of(const QueueDepth& depth, WallTime now) {
  return {.depth = depth,
          .lag = depth.oldest_ready ? std::optional(std::max(Duration::zero(), now - *depth.oldest_ready))
                                    : std::nullopt,
          .workers = {},
          .pauses = {}};
}

/// A heartbeat may say anything.
std::vector<std::string> names_in(const Json& facts, const char* key) {
  std::vector<std::string> names;
  const auto found = facts.find(key);
  if (found == facts.end() || !found->is_array()) return names;
  for (const auto& one : *found)
    if (one.is_string() && is_name(one.get_ref<const std::string&>()))
      names.push_back(one.get<std::string>());
  return names;
}

}  // namespace

FleetSample take_sample(Fleet& fleet, const std::vector<std::string>& nodes) {
  FleetSample sample;
  sample.depths = fleet.broker().depths();
  sample.beats = fleet.alive(nodes);
  sample.paused = fleet.orders().paused();
  sample.at = Clock::system().wall();
  return sample;
}

bool QueueState::paused_for_all() const {
  return std::any_of(pauses.begin(), pauses.end(), [](const auto& pause) { return pause.node.empty(); });
}

std::vector<QueueState> queue_states(const std::vector<QueueDepth>& depths, WallTime now) {
  std::vector<QueueState> states;
  states.reserve(depths.size());
  for (const auto& depth : depths) states.push_back(state_of(depth, now));
  return states;
}

std::vector<QueueState> queue_states(const FleetSample& sample) {
  std::map<std::string, QueueState> all;
  for (const auto& depth : sample.depths) all.emplace(depth.queue, state_of(depth, sample.at));
  const auto queue = [&](const std::string& name) -> QueueState& {
    auto& state = all[name];
    state.depth.queue = name;
    return state;
  };
  for (const auto& pause : sample.paused) queue(pause.queue).pauses.push_back(pause);
  for (const auto& beat : sample.beats) {
    const auto rests = names_in(beat.facts, "pausedQueues");
    for (const auto& name : names_in(beat.facts, "queues"))
      if (auto& state = queue(name); std::find(rests.begin(), rests.end(), name) == rests.end())
        state.workers.push_back(beat.node);
  }
  std::vector<QueueState> states;
  for (auto& [name, state] : all) {
    std::sort(state.workers.begin(), state.workers.end());
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace stem::cli
