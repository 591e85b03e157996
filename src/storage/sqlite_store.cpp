#include "storage/sqlite_store.hpp"

#include <algorithm>

namespace stem {
namespace {

constexpr std::size_t swept_at_once = 500;    // a few milliseconds; others get their turn in between
constexpr std::chrono::seconds slow_look{5};  // for a writer that died between its commit and the bell
constexpr std::chrono::hours longest_wait{24 * 365};

}  // namespace

Bell jobs_bell(const SqliteDatabase& database) {
  return {database.path() + "-bell", database.path()};
}
Bell records_bell(const SqliteDatabase& database) {
  return {database.path() + "-results-bell", database.path()};
}

SqliteStore::SqliteStore(std::shared_ptr<SqliteDatabase> database, const Clock& clock)
    : database_(std::move(database)),
      clock_(clock),
      bell_(records_bell(*database_)),
      entries_(*database_),
      get_(*database_, "SELECT version, expires, value FROM entry WHERE key = ?"),
      list_(*database_,
            "SELECT version, expires, value, key FROM entry WHERE key >= ?1 AND key < ?2 AND key > ?3 "
            "AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5"),
      any_expired_(*database_, "SELECT 1 FROM expiry WHERE at <= ? LIMIT 1") {}

StoreEntry SqliteStore::entry(const std::string& key, SqliteRows& row) const {
  StoreEntry entry{.key = key, .value = row.text(2), .version = row.integer(0), .expires = std::nullopt};
  if (const auto expires = row.maybe(1)) entry.expires = WallTime(Duration(*expires));
  return entry;
}

bool SqliteStore::live(const StoreEntry& entry) const {
  return !entry.expires || *entry.expires > clock_.wall();
}

std::optional<StoreEntry> SqliteStore::look_up(const std::string& key) {
  auto rows = get_.query(key);
  if (!rows.next()) return std::nullopt;
  auto found = entry(key, rows);
  return live(found) ? std::optional(std::move(found)) : std::nullopt;
}

std::optional<StoreEntry> SqliteStore::get(const std::string& key) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  return look_up(key);
}

bool SqliteStore::put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) {
  if (writes.empty() && guards.empty()) return true;
  std::vector<const StoreWrite*> all;
  for (const auto& write : writes) all.push_back(&write);
  {
    SqliteTransaction transaction(*database_, SqliteAccess::write);
    const auto now = clock_.wall();
    if (!entries_.hold(guards, now)) return false;
    entries_.put(all, now);
    transaction.commit();
  }
  bell_.ring();
  return true;
}

bool SqliteStore::erase(const std::string& key) {
  SqliteTransaction transaction(*database_, SqliteAccess::write);
  const bool there = look_up(key).has_value();
  entries_.erase(key);
  transaction.commit();
  return there;
}

std::vector<StoreEntry> SqliteStore::list(const std::string& prefix, std::size_t limit,
                                          const std::string& after) {
  // No text sorts after the prefix and this: 0xff is no part of UTF-8.
  const auto end = prefix + "\xff";
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX));
  std::vector<StoreEntry> found;
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  for (auto rows = list_.query(prefix, end, after, clock_.wall().time_since_epoch().count(), most);
       rows.next();)
    found.push_back(entry(rows.text(3), rows));
  return found;
}

std::optional<StoreEntry> SqliteStore::await(const std::string& key, std::int64_t version, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + std::min<Duration>(timeout, longest_wait);
  std::call_once(listening_, [&] { listener_ = std::make_unique<WakeListener<BellWatch>>(bell_); });
  for (;;) {
    const auto heard = listener_->heard();
    auto found = get(key);
    if (found && found->version > version) return found;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline || stopped_) return found;
    listener_->wait(heard, std::min(deadline, now + slow_look));
  }
}

void SqliteStore::stop_waiting() {
  stopped_ = true;
  bell_.ring();  // others look for nothing, once
}

std::size_t SqliteStore::sweep() {
  for (;;) {
    {
      SqliteTransaction reading(*database_, SqliteAccess::read);
      if (!any_expired_.number(clock_.wall().time_since_epoch().count())) return 0;
    }
    // What a power cut brings back is swept again.
    SqliteTransaction transaction(*database_, SqliteAccess::write_lazily);
    const auto swept = entries_.sweep(clock_.wall(), swept_at_once);
    transaction.commit();
    // Batches of which nothing is left are rare, and must not look like the end.
    if (swept.entries > 0 || !swept.more) return swept.entries;
  }
}

}  // namespace stem
