#include "storage/sqlite_entries.hpp"

#include <algorithm>

namespace stem {
SqliteEntries::SqliteEntries(SqliteDatabase& database)
    : replace_(database, "REPLACE INTO entry(version, key, expires, value) VALUES", "(?, ?, ?, ?)"),
      latest_(database, "SELECT max(version) FROM entry"),
      expire_(database, "REPLACE INTO expiry(at, first, last) VALUES(?, ?, ?)"),
      expired_(database, "SELECT at, first, last FROM expiry WHERE at <= ? ORDER BY at LIMIT ?"),
      erase_(database, "DELETE FROM entry WHERE version BETWEEN ? AND ? AND expires <= ?"),
      forget_(database, "DELETE FROM expiry WHERE at = ? AND first = ?") {}

void SqliteEntries::put(std::span<const StoreWrite* const> writes, WallTime now) {
  if (writes.empty()) return;
  // Versions follow the clock, so that they grow even for a key that was erased and whose row no longer
  // tells.
  auto version = std::max(latest_.number().value_or(0) + 1, now.time_since_epoch().count());
  auto first = version;
  replace_.start(writes.size());
  for (std::size_t i = 0; i < writes.size(); ++i, ++version) {
    const auto& write = *writes[i];
    const auto expires = write.ttl == Duration{} ? std::optional<std::int64_t>()
                                                 : (now + write.ttl).time_since_epoch().count();
    replace_.add(version, write.key, expires, write.value);
    if (i + 1 < writes.size() && writes[i + 1]->ttl == write.ttl) continue;
    note_expiry(first, version, write.ttl, now);
    first = version + 1;
  }
}

void SqliteEntries::note_expiry(std::int64_t first, std::int64_t last, Duration ttl, WallTime now) {
  if (ttl != Duration{}) expire_.run((now + ttl).time_since_epoch().count(), first, last);
}

std::pair<std::size_t, bool> SqliteEntries::sweep(WallTime now, std::size_t batches) {
  struct Batch {
    std::int64_t at, first, last;
  };
  const auto time = now.time_since_epoch().count();
  std::vector<Batch> due;
  for (auto rows = expired_.query(time, static_cast<std::int64_t>(batches)); rows.next();)
    due.push_back({rows.integer(0), rows.integer(1), rows.integer(2)});
  std::size_t erased = 0;
  for (const auto& batch : due) {
    // Entries of the batch that were written again since have another version, out of its bounds.
    erased += static_cast<std::size_t>(erase_.run(batch.first, batch.last, time));
    forget_.run(batch.at, batch.first);
  }
  return {erased, due.size() < batches};
}

}  // namespace stem
