#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <stem/time.hpp>

#include "storage/redis_client.hpp"
#include "storage/server_watch.hpp"
#include "storage/store.hpp"
#include "storage/wake_listener.hpp"

namespace stem {

/// The store on Redis. The keys are told of in docs/redis.md.
class RedisStore : public Store {
 public:
  /// `clock` must outlive it.
  RedisStore(std::shared_ptr<RedisClient> client, const Clock& clock)
      : client_(std::move(client)), clock_(clock) {}

  std::optional<StoreEntry> get(const std::string& key) override;
  bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override;
  bool erase(const std::string& key) override;
  std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                               const std::string& after) override;
  std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) override;
  void stop_waiting() override;
  std::size_t sweep() override;

  const RedisClient& client() const { return *client_; }

 private:
  RedisCommand words() const;  // that every script which writes begins with
  WakeListener<ServerWatch>& listener();

  const std::shared_ptr<RedisClient> client_;
  const Clock& clock_;

  // Made when somebody first waits.
  std::mutex mutex_;
  std::unique_ptr<WakeListener<ServerWatch>> listener_;
  std::atomic<bool> stopped_{false};
};

}  // namespace stem
