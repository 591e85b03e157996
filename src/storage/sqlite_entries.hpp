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
  explicit SqliteEntries(SqliteDatabase& database);

  /// Writes are appended to the table and get consecutive versions: a batch with one time-to-live is one row
  /// of `expiry`, and sweep() need not look for what has expired.
  void put(std::span<const StoreWrite* const> writes, WallTime now);
  bool hold(const std::vector<StoreGuard>& guards, WallTime now);
  bool erase(std::string_view key);
  struct Swept {
    std::size_t entries = 0;  ///< how many were deleted
    bool more = false;        ///< whether others have expired that were left for the next time
  };
  /// Deletes up to `limit` of those that expired up to `now`.
  Swept sweep(WallTime now, std::size_t limit);

 private:
  /// A written entry that will expire.
  struct Expiring {
    std::int64_t version, at;
  };
  void note_expiry(std::int64_t first, std::int64_t last, Duration ttl, WallTime now);
  std::optional<Expiring> expiring(std::string_view key);
  /// After the entry is gone: forgets its batch if it was the last of it.
  void drop_batch_of(const Expiring& gone);

  SqliteInsertion replace_;
  SqliteStatement latest_, expire_, batch_, any_, expiring_, remove_, expired_, erase_, forget_, versions_,
      live_;
};

}  // namespace stem
