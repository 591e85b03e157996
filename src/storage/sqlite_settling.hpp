#pragma once

#include <span>
#include <vector>

#include "storage/broker.hpp"
#include "storage/sqlite_jobs.hpp"
#include "storage/sqlite_leases.hpp"

namespace stem {

/// What becomes of leased jobs. All calls inside a write transaction, after SqliteLeases::load().
class SqliteSettling {
 public:
  SqliteSettling(SqliteDatabase& database, SqliteLeases& leases, SqliteJobs& jobs);

  /// Returns whether a job became ready or will before long. `records` are those to be written with it.
  bool settle(std::span<const Settlement> settled, WallTime now, std::vector<const StoreWrite*>& records,
              std::vector<Receipt>& lost);
  /// Makes the leases that are still held end no earlier than `until`; returns the others.
  std::vector<Receipt> renew(std::span<const Receipt> receipts, std::int64_t until);

 private:
  bool end(const Settlement& settlement, WallTime now);

  SqliteLeases& leases_;
  SqliteJobs& jobs_;
  SqliteStatement keys_;
};

}  // namespace stem
