#pragma once

#include <span>
#include <vector>

#include "storage/sqlite_database.hpp"
#include "storage/sqlite_insertion.hpp"
#include "storage/store.hpp"

namespace stem {

/// The writing half of the store's table, apart from SqliteStore because the broker writes the records of
/// settled jobs in its own transaction. All calls inside a write transaction.
class SqliteEntries {
 public:
  SqliteEntries(SqliteDatabase& database);

  /// Writes are appended to the table and get consecutive versions: a batch with one time-to-live is one row
  /// of `expiry`, and sweep() need not look for what has expired.
  void put(std::span<const StoreWrite* const> writes, WallTime now);
  /// Deletes what expired up to `now`, of up to `batches` batches. Returns how many entries, and whether that
  /// was all.
  std::pair<std::size_t, bool> sweep(WallTime now, std::size_t batches);

 private:
  void note_expiry(std::int64_t first, std::int64_t last, Duration ttl, WallTime now);

  SqliteInsertion replace_;
  SqliteStatement latest_, expire_, expired_, erase_, forget_;
};

}  // namespace stem
