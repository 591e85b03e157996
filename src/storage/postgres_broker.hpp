#pragma once

#include <memory>
#include <mutex>
#include <set>

#include "storage/broker.hpp"
#include "storage/lease_tokens.hpp"
#include "storage/postgres_client.hpp"
#include "storage/postgres_publisher.hpp"
#include "storage/server_watch.hpp"

namespace stem {

/// The broker on PostgreSQL. Each call is one transaction in one round trip, publish_guarded() two. Durable
/// when it returns, as far as the server's synchronous_commit is. Notifications follow the commit. The tables
/// are told of in docs/postgres.md.
class PostgresBroker : public Broker {
 public:
  /// `clock` must outlive it.
  PostgresBroker(std::shared_ptr<PostgresClient> client, const Clock& clock);

  std::size_t publish(std::span<const Envelope> jobs) override;
  bool publishes_with(const Store& store) const override { return keeps_records_of(store); }
  std::optional<std::size_t> publish_guarded(std::span<const Envelope> jobs,
                                             const std::vector<StoreGuard>& guards,
                                             const std::vector<StoreWrite>& records) override;
  /// An exchange of which nobody knows whether it was done is looked at by the next one: what it settled
  /// counts as settled, what it leased goes back.
  Exchange exchange(std::span<const Settlement> settled, const Demand& demand) override;
  std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) override;
  bool keeps_records_of(const Store& store) const override;
  int wake_fd() const override { return watch().fd(); }
  Wake clear_wake() override;
  std::optional<WallTime> next_due(const std::vector<std::string>& queues) override;
  void broadcast(const std::string& channel, const Envelope& message, Duration ttl) override;
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) override;
  std::optional<JobView> find(const std::string& id) override;
  std::vector<QueueDepth> depths() override;
  std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) override;
  std::size_t replay(std::span<const std::string> ids) override;
  std::size_t purge(std::span<const std::string> ids) override;

 private:
  /// An exchange whose connection broke before the server told of its commit.
  struct OpenExchange {
    std::string session;
    std::int64_t token = 0;
    std::vector<std::string> queues;
    std::vector<Receipt> settled;
  };

  std::set<Receipt> look_at_open_ones();
  ServerWatch& watch() const;

  const std::shared_ptr<PostgresClient> client_;
  const Clock& clock_;
  LeaseTokens tokens_;
  PostgresPublisher publisher_;

  // Made when somebody first waits, which producers never do.
  mutable std::once_flag watched_;
  mutable std::unique_ptr<ServerWatch> watch_;

  std::mutex mutex_;
  std::vector<OpenExchange> open_;  // guarded by it
};

}  // namespace stem
