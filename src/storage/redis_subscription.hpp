#pragma once

#include <string>

#include "storage/redis_address.hpp"
#include "storage/server_watch.hpp"

namespace stem {

/// Subscribes to a channel of a Redis, on a connection of its own each time. Errors are those of
/// RedisConnection.
ServerWatch::Subscribe redis_subscription(RedisAddress address, std::string channel);

}  // namespace stem
