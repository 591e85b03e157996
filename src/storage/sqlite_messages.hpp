#pragma once

#include <string_view>
#include <vector>

#include "storage/broker.hpp"
#include "storage/sqlite_database.hpp"

namespace stem {

/// What is said to everyone who listens. Numbers are given out inside write transactions, of which there is
/// one at a time, and never twice, also when the table was empty in between. All calls inside a transaction.
class SqliteMessages {
 public:
  explicit SqliteMessages(SqliteDatabase& database);

  void add(std::string_view channel, std::string_view wire, WallTime expires);
  /// Deletes some of those that have expired.
  void sweep(WallTime now);
  /// See Broker::listen().
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit, WallTime now);

 private:
  SqliteStatement add_, sweep_, last_, read_;
};

}  // namespace stem
