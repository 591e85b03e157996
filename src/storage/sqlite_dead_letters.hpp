#pragma once

#include <span>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "storage/sqlite_jobs.hpp"
#include "storage/sqlite_queues.hpp"

namespace stem {

/// The jobs that lie in the dead-letter queues. All calls inside a transaction, replay() and purge() a write
/// transaction.
class SqliteDeadLetters {
 public:
  SqliteDeadLetters(SqliteDatabase& database, SqliteQueues& queues, SqliteJobs& jobs);

  /// As Broker::dead_letters().
  std::vector<DeadJob> list(const std::string& queue, std::size_t limit);
  std::size_t replay(std::span<const std::string> ids, WallTime now);
  std::size_t purge(std::span<const std::string> ids);

 private:
  std::vector<SqliteKey> keys(std::span<const std::string> ids);

  SqliteQueues& queues_;
  SqliteJobs& jobs_;
  SqliteStatement all_, of_one_, key_;
};

}  // namespace stem
