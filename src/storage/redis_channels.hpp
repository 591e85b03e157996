#pragma once

#include <vector>

#include "storage/broker.hpp"
#include "storage/redis_client.hpp"

namespace stem {

/// Broker::broadcast() and listen(): a stream for each channel, laid out as workers of other makes have it.
void redis_broadcast(RedisClient& client, const std::string& channel, const Envelope& message, Duration ttl,
                     WallTime now);
std::vector<Broadcast> redis_listen(RedisClient& client, std::vector<Listening>& channels, std::size_t limit,
                                    WallTime now);

/// What is published beside a broadcast to wake listeners; what wakes workers for jobs is empty.
inline constexpr const char* redis_broadcast_wake = "broadcast";

}  // namespace stem
