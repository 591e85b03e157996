#pragma once

#include <optional>
#include <vector>

#include "storage/broker.hpp"
#include "storage/lease_tokens.hpp"
#include "storage/sqlite_jobs.hpp"
#include "storage/sqlite_leases.hpp"
#include "storage/sqlite_queues.hpp"

namespace stem {

/// Finds the jobs that may be handed out, and leases them. All calls inside a transaction, after
/// SqliteLeases::load().
class SqliteFetcher {
 public:
  SqliteFetcher(SqliteDatabase& database, SqliteQueues& queues, SqliteLeases& leases, SqliteJobs& jobs);

  bool anything_for(const Demand& demand, WallTime now);
  /// In a write transaction. Appends to `deliveries` until there are as many as are asked for.
  void lease(const Demand& demand, WallTime now, std::vector<Delivery>& deliveries);
  /// When the first delayed job of the queue is due.
  std::optional<std::int64_t> first_due(std::int64_t queue) { return first_due_.number(queue); }
  /// The first job with a key from `first` to `last` that no lease holds.
  std::optional<std::int64_t> first_free(std::int64_t first, std::int64_t last, std::int64_t now);

 private:
  struct Cursor;

  std::vector<Cursor> cursors(const Demand& demand, WallTime now);
  void look_ahead(Cursor& cursor, std::int64_t now);
  void take(Cursor& cursor, std::int64_t token, const Demand& demand, WallTime now,
            std::vector<Delivery>& deliveries);

  SqliteQueues& queues_;
  SqliteLeases& leases_;
  SqliteJobs& jobs_;
  LeaseTokens tokens_;
  SqliteStatement peek_, take_, first_due_;
};

}  // namespace stem
