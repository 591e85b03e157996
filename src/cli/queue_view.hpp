#pragma once

#include <stem/json.hpp>
#include <string>
#include <vector>

#include "cli/fleet_sample.hpp"

namespace stem::cli {

/// What is told of queues: the broker's side, or also who serves them.
enum class QueueColumns { depth, service };

/// One row a queue, for people.
std::string queue_table(const std::vector<QueueState>& queues, QueueColumns columns);
/// `queue ready delayed leased dead oldestReadyMs`; of their service also `workers`, `paused` and `pauses`.
Json to_json(const QueueState& queue, QueueColumns columns);

/// `web-1,web-2,web-3 +17`, or `-`.
std::string short_list(const std::vector<std::string>& names);
/// `yes`, `on web-1`, or `-`.
std::string pause_words(const QueueState& queue);

}  // namespace stem::cli
