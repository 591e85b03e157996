#pragma once

#include <vector>

#include "storage/broker.hpp"
#include "storage/postgres_client.hpp"

namespace stem {

/// Broker::broadcast() and listen(): numbered messages in a table.
void postgres_broadcast(PostgresClient& client, const std::string& channel, const Envelope& message,
                        Duration ttl, WallTime now);
std::vector<Broadcast> postgres_listen(PostgresClient& client, std::vector<Listening>& channels,
                                       std::size_t limit, WallTime now);

}  // namespace stem
