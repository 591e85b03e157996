#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "storage/sqlite_fetcher.hpp"

namespace stem {

/// What those who look at jobs and queues are shown. All calls inside a transaction, after
/// SqliteLeases::load().
class SqliteView {
 public:
  SqliteView(SqliteDatabase& database, SqliteQueues& queues, SqliteLeases& leases, SqliteFetcher& fetcher);

  /// As Broker::find() and depths().
  std::optional<JobView> find(const std::string& id, std::int64_t now);
  std::vector<QueueDepth> depths(std::int64_t now);

 private:
  SqliteQueues& queues_;
  SqliteLeases& leases_;
  SqliteFetcher& fetcher_;
  SqliteStatement by_id_, all_keys_, keys_, since_, overdue_, why_dead_;
};

}  // namespace stem
