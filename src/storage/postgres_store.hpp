#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "storage/postgres_client.hpp"
#include "storage/server_watch.hpp"
#include "storage/store.hpp"
#include "storage/wake_listener.hpp"

namespace stem {

/// The statements that write these values, in order. The last of two with one key wins.
std::vector<PostgresCall> calls_to_put(const std::vector<StoreWrite>& writes, WallTime now);

/// The statements that begin a transaction and hold what `guards` name until its end, in order.
std::vector<PostgresCall> calls_to_guard(std::vector<StoreGuard> guards, WallTime now);
/// Whether all of them hold, by what those statements told.
bool hold(const std::vector<PostgresRows>& rows);

/// The store on PostgreSQL. Notifications follow the commit.
class PostgresStore : public Store {
 public:
  /// `clock` must outlive it.
  PostgresStore(std::shared_ptr<PostgresClient> client, const Clock& clock)
      : client_(std::move(client)), clock_(clock) {}

  std::optional<StoreEntry> get(const std::string& key) override;
  bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override;
  bool erase(const std::string& key) override;
  std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                               const std::string& after) override;
  std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) override;
  void stop_waiting() override;
  std::size_t sweep() override;

  const PostgresClient& client() const { return *client_; }

 private:
  WakeListener<ServerWatch>& listener();

  const std::shared_ptr<PostgresClient> client_;
  const Clock& clock_;
  std::atomic<bool> stopped_{false};
  std::mutex mutex_;
  std::unique_ptr<WakeListener<ServerWatch>> listener_;  // made when somebody first waits
};

}  // namespace stem
