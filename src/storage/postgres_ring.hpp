#pragma once

#include <string>

#include "storage/postgres_client.hpp"
#include "storage/postgres_statements.hpp"

namespace stem {

/// Wakes who listens on `channel`: "jobs" workers, "records" those who wait for values.
inline PostgresCall postgres_ring(const PostgresClient& client, const std::string& channel) {
  return {postgres::notify, PostgresParameters().add(client.channel(channel))};
}
/// Wakes workers, if the last publication of this session brought new jobs.
inline PostgresCall postgres_ring_if_added(const PostgresClient& client) {
  return {postgres::notify_if_added, PostgresParameters().add(client.channel("jobs"))};
}

}  // namespace stem
