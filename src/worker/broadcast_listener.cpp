#include "worker/broadcast_listener.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/name.hpp"

namespace stem {

/// Channels that stay keep their place, new ones are heard from now on.
void BroadcastListener::follow() {
  std::vector<Listening> ears;
  for (const auto& channel : subscriptions_.channels()) {
    const auto old =
        std::find_if(ears_.begin(), ears_.end(), [&](const auto& ear) { return ear.channel == channel; });
    ears.push_back(old == ears_.end() ? Listening{channel} : *old);
  }
  ears_ = std::move(ears);
}

void BroadcastListener::begin() {
  hear(0);
}

void BroadcastListener::wake() {
  if (!subscriptions_.channels().empty()) hearing_.wake();
}

std::vector<Delivery> BroadcastListener::hear(std::size_t limit) {
  follow();
  std::vector<Delivery> jobs;
  if (ears_.empty()) {
    hearing_.never();
    return jobs;
  }
  const auto said = broker_.listen(ears_, limit);
  for (const auto& one : said) {
    try {
      jobs.push_back(
          {.receipt = {}, .id = envelope_from_wire(one.wire).id, .queue = one.channel, .wire = one.wire});
    } catch (const Error& error) {
      spdlog::warn("what was said on {} is no job: {}", printable(one.channel), error.what());
    }
  }
  hearing_.heard(clock_.steady(), limit > 0 && said.size() >= limit);
  return jobs;
}

}  // namespace stem
