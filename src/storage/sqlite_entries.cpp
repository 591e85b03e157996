#include "storage/sqlite_entries.hpp"

#include <algorithm>

namespace stem {
SqliteEntries::SqliteEntries(SqliteDatabase& database)
    : replace_(database, "REPLACE INTO entry(version, key, expires, value) VALUES", "(?, ?, ?, ?)"),
      latest_(database, "SELECT max(version) FROM entry"),
      expire_(database, "REPLACE INTO expiry(at, first, last) VALUES(?, ?, ?)"),
      batch_(database,
             "SELECT first, last FROM expiry WHERE at = ? AND first <= ? ORDER BY first DESC LIMIT 1"),
      any_(database, "SELECT 1 FROM entry WHERE version BETWEEN ? AND ? LIMIT 1"),
      expiring_(database, "SELECT version, expires FROM entry WHERE key = ? AND expires IS NOT NULL"),
      remove_(database, "DELETE FROM entry WHERE key = ?"),
      expired_(database, "SELECT at, first, last FROM expiry WHERE at <= ? ORDER BY at LIMIT ?"),
      erase_(database, "DELETE FROM entry WHERE version BETWEEN ? AND ? AND expires <= ?"),
      forget_(database, "DELETE FROM expiry WHERE at = ? AND first = ?"),
      versions_(database, "SELECT version FROM entry WHERE version BETWEEN ? AND ? ORDER BY version LIMIT ?"),
      live_(database, "SELECT version FROM entry WHERE key = ? AND (expires IS NULL OR expires > ?)") {}

bool SqliteEntries::hold(const std::vector<StoreGuard>& guards, WallTime now) {
  return std::all_of(guards.begin(), guards.end(), [&](const StoreGuard& guard) {
    return live_.number(guard.key, now.time_since_epoch().count()).value_or(0) == guard.version;
  });
}

void SqliteEntries::put(std::span<const StoreWrite* const> writes, WallTime now) {
  if (writes.empty()) return;
  // Versions follow the clock, so that they grow even for a key that was erased and whose row no longer
  // tells.
  auto version = std::max(latest_.number().value_or(0) + 1, now.time_since_epoch().count());
  auto first = version;
  std::vector<Expiring> overwritten;
  for (const auto* const write : writes)
    if (const auto old = expiring(write->key)) overwritten.push_back(*old);
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
  for (const auto& old : overwritten) drop_batch_of(old);
}

void SqliteEntries::note_expiry(std::int64_t first, std::int64_t last, Duration ttl, WallTime now) {
  if (ttl != Duration{}) expire_.run((now + ttl).time_since_epoch().count(), first, last);
}

std::optional<SqliteEntries::Expiring> SqliteEntries::expiring(std::string_view key) {
  auto rows = expiring_.query(key);
  return rows.next() ? std::optional(Expiring{rows.integer(0), rows.integer(1)}) : std::nullopt;
}

void SqliteEntries::drop_batch_of(const Expiring& gone) {
  std::int64_t first = 0, last = 0;
  {
    auto rows = batch_.query(gone.at, gone.version);
    if (!rows.next()) return;
    first = rows.integer(0);
    last = rows.integer(1);
  }
  if (last >= gone.version && !any_.number(first, last)) forget_.run(gone.at, first);
}

bool SqliteEntries::erase(std::string_view key) {
  const auto old = expiring(key);
  const bool there = remove_.run(key) > 0;
  if (old) drop_batch_of(*old);
  return there;
}

SqliteEntries::Swept SqliteEntries::sweep(WallTime now, std::size_t limit) {
  struct Batch {
    std::int64_t at, first, last;
  };
  const auto time = now.time_since_epoch().count();
  std::vector<Batch> due;
  for (auto rows = expired_.query(time, static_cast<std::int64_t>(limit)); rows.next();)
    due.push_back({rows.integer(0), rows.integer(1), rows.integer(2)});
  Swept swept{.entries = 0, .more = due.size() == limit};
  for (const auto& batch : due) {
    // How far into the batch the limit reaches. Entries that were written again since have another version,
    // out of its bounds.
    const auto room = limit - swept.entries;
    std::vector<std::int64_t> versions;
    for (auto rows = versions_.query(batch.first, batch.last, static_cast<std::int64_t>(room + 1));
         rows.next();)
      versions.push_back(rows.integer(0));
    const bool whole = versions.size() <= room;
    const auto end = whole ? batch.last : versions.back() - 1;
    swept.entries += static_cast<std::size_t>(erase_.run(batch.first, end, time));
    forget_.run(batch.at, batch.first);
    if (whole) continue;
    expire_.run(batch.at, end + 1, batch.last);
    swept.more = true;
    break;
  }
  return swept;
}

}  // namespace stem
