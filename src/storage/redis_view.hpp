#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "storage/redis_client.hpp"

namespace stem {

/// Broker::find() and depths(): what those who look are shown.
std::optional<JobView> redis_find(RedisClient& client, const std::string& id, WallTime now);
std::vector<QueueDepth> redis_depths(RedisClient& client, WallTime now);

}  // namespace stem
