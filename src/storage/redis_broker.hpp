#pragma once

#include <memory>
#include <mutex>

#include "storage/broker.hpp"
#include "storage/lease_tokens.hpp"
#include "storage/redis_channels.hpp"
#include "storage/redis_client.hpp"
#include "storage/redis_dead_letters.hpp"
#include "storage/redis_leases.hpp"
#include "storage/redis_view.hpp"
#include "storage/server_watch.hpp"

namespace stem {

/// The broker on Redis Streams. Each call is one script, so all or nothing, in one round trip; what is
/// fetched while delayed jobs are due takes two. How durable it is when it returns is the server's setting
/// (appendfsync). The keys are told of in docs/redis.md.
class RedisBroker : public Broker {
 public:
  /// `clock` must outlive it.
  RedisBroker(std::shared_ptr<RedisClient> client, const Clock& clock);

  std::size_t publish(std::span<const Envelope> jobs) override;
  bool publishes_with(const Store& store) const override { return keeps_records_of(store); }
  std::optional<std::size_t> publish_guarded(std::span<const Envelope> jobs,
                                             const std::vector<StoreGuard>& guards,
                                             const std::vector<StoreWrite>& records) override;
  Exchange exchange(std::span<const Settlement> settled, const Demand& demand) override;
  std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) override;
  bool keeps_records_of(const Store& store) const override;
  int wake_fd() const override { return watch().fd(); }
  Wake clear_wake() override;
  std::optional<WallTime> next_due(const std::vector<std::string>& queues) override;
  void broadcast(const std::string& channel, const Envelope& message, Duration ttl) override {
    redis_broadcast(*client_, channel, message, ttl, clock_.wall());
  }
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) override {
    return redis_listen(*client_, channels, limit, clock_.wall());
  }
  std::optional<JobView> find(const std::string& id) override {
    return redis_find(*client_, id, clock_.wall());
  }
  std::vector<QueueDepth> depths() override { return redis_depths(*client_, clock_.wall()); }
  std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) override {
    return redis_dead_letters(*client_, queue, limit);
  }
  std::size_t replay(std::span<const std::string> ids) override {
    return redis_replay(*client_, ids, clock_.wall());
  }
  std::size_t purge(std::span<const std::string> ids) override { return redis_purge(*client_, ids); }

 private:
  RedisCommand exchange_words(const RedisCommand& settlements, std::int64_t count, const Demand& demand,
                              const std::vector<std::string>& queues, WallTime now, std::int64_t token,
                              bool look);
  RedisCommand promotion(const RedisValue& due, const std::vector<std::string>& queues);
  std::vector<Delivery> take(const RedisValue& reply, const std::vector<std::string>& queues,
                             std::int64_t token);
  ServerWatch& watch() const;

  const std::shared_ptr<RedisClient> client_;
  const Clock& clock_;

  // Made when somebody first waits, which producers never do.
  mutable std::once_flag watched_;
  mutable std::unique_ptr<ServerWatch> watch_;

  LeaseTokens tokens_;
  RedisLeases leases_;
};

}  // namespace stem
