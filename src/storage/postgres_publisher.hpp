#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "storage/broker.hpp"
#include "storage/lease_tokens.hpp"
#include "storage/postgres_client.hpp"

namespace stem {

/// Puts jobs, and what is remembered of them, into the tables: once, also where the connection breaks before
/// the server has told of the commit. Thread-safe.
class PostgresPublisher {
 public:
  explicit PostgresPublisher(std::shared_ptr<PostgresClient> client) : client_(std::move(client)) {}

  /// Broker::publish_guarded(). Throws as that; where the server cannot be asked in time whether it was done,
  /// the message says that it may have been.
  std::optional<std::size_t> publish(std::span<const Envelope> jobs, const std::vector<StoreGuard>& guards,
                                     const std::vector<StoreWrite>& records, WallTime now);

 private:
  /// By what a publication is known after its connection broke: a number in a row of the table `publication`.
  /// A slot is used by one publication at a time, and then again.
  struct Slot {
    std::int64_t slot = 0, number = 0;
  };
  struct Attempt;

  Slot take();
  /// Not after a failure: a commit of it may still be on its way, and would be taken for another's.
  void give_back(const Slot& slot);
  void make(Attempt& attempt);
  void settle(Attempt& attempt, const Slot& slot, const PostgresError& first);

  const std::shared_ptr<PostgresClient> client_;
  LeaseTokens slots_;
  std::mutex mutex_;
  std::vector<Slot> free_;  // guarded by it
};

}  // namespace stem
