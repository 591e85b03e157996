#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <stem/time.hpp>

#include "storage/bell.hpp"
#include "storage/sqlite_database.hpp"
#include "storage/sqlite_entries.hpp"
#include "storage/store.hpp"
#include "storage/wake_listener.hpp"

namespace stem {

/// Where the bells hang: one for what workers wait for, one for what those who wait for results do.
Bell jobs_bell(const SqliteDatabase& database);
Bell records_bell(const SqliteDatabase& database);

/// The store on a SQLite file that any number of processes share. Writes are on disk when they return.
class SqliteStore : public Store {
 public:
  /// `clock` must outlive it.
  SqliteStore(std::shared_ptr<SqliteDatabase> database, const Clock& clock);

  std::optional<StoreEntry> get(const std::string& key) override;
  bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override;
  bool erase(const std::string& key) override;
  std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                               const std::string& after) override;
  std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) override;
  void stop_waiting() override;
  std::size_t sweep() override;

  const SqliteDatabase& database() const { return *database_; }

 private:
  StoreEntry entry(const std::string& key, SqliteRows& row) const;
  std::optional<StoreEntry> look_up(const std::string& key);
  bool live(const StoreEntry& entry) const;

  const std::shared_ptr<SqliteDatabase> database_;
  const Clock& clock_;
  const Bell bell_;

  // Made when somebody first waits.
  std::once_flag listening_;
  std::unique_ptr<WakeListener<BellWatch>> listener_;
  std::atomic<bool> stopped_{false};

  // The rest is guarded by a transaction's hold on the database.
  SqliteEntries entries_;
  SqliteStatement get_, list_, any_expired_;
};

}  // namespace stem
