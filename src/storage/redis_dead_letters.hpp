#pragma once

#include <span>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "storage/redis_client.hpp"

namespace stem {

/// Broker::dead_letters(), replay() and purge(). What lies there is told of in storage/redis_dead.hpp.
std::vector<DeadJob> redis_dead_letters(RedisClient& client, const std::string& queue, std::size_t limit);
std::size_t redis_replay(RedisClient& client, std::span<const std::string> ids, WallTime now);
std::size_t redis_purge(RedisClient& client, std::span<const std::string> ids);

}  // namespace stem
