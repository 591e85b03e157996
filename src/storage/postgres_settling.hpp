#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "storage/broker.hpp"
#include "storage/postgres_connection.hpp"

namespace stem {

/// Settlements that go into one statement: acknowledgements, which are deletions, or all others, which are
/// updates.
class PostgresSettling {
 public:
  PostgresSettling(bool acknowledging, WallTime now) : acknowledging_(acknowledging), now_(now) {}

  /// Whether it may go into the same statement: that cannot write a record twice.
  bool has_room_for(const Settlement& one) const;
  void add(const Settlement& one);
  PostgresCall call() const;
  /// Appends those that the statement did not find, by what it tells.
  void lost(const PostgresRows& rows, std::vector<Receipt>& lost) const;

 private:
  const bool acknowledging_;
  const WallTime now_;
  std::vector<Receipt> receipts_;
  std::unordered_set<std::string> records_;
  PostgresArray keys_ = PostgresArray::numbers(), tokens_ = PostgresArray::numbers(),
                dues_ = PostgresArray::numbers(), record_ends_ = PostgresArray::numbers();
  PostgresArray kinds_{PostgresArray::Of::text}, record_keys_{PostgresArray::Of::text};
  PostgresArray reasons_{PostgresArray::Of::bytea}, metas_{PostgresArray::Of::bytea},
      record_values_{PostgresArray::Of::bytea};
};

}  // namespace stem
