#pragma once

#include <stem/json.hpp>
#include <string>
#include <vector>

#include "worker/fleet.hpp"

namespace stem::cli {

/// That nothing be taken from queues, or that jobs be taken from them again.
struct QueueOrder {
  std::vector<std::string> queues;
  std::vector<std::string> nodes{};  ///< empty = all
  std::string reason{}, requester{};
  bool resume = false;

  const char* type() const { return resume ? "queue_resume" : "queue_pause"; }
  /// For workers, once remember() has returned: they look at what is remembered.
  Json payload(const std::string& name_space) const;
};

/// First remembered, then told. Throws Error as StandingOrders does.
void remember(const QueueOrder& order, Fleet& fleet);

}  // namespace stem::cli
