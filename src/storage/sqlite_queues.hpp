#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/sqlite_database.hpp"

namespace stem {

/// The numbers that stand for queues in job keys. A queue's row is made by its first job and stays for good,
/// so numbers may be remembered between transactions. All calls inside a transaction.
class SqliteQueues {
 public:
  struct Queue {
    std::int64_t number;
    std::string name;
  };

  explicit SqliteQueues(SqliteDatabase& database);

  /// The queue of that name, or null if it never had a job.
  const Queue* find(const std::string& name);
  /// The queues of these names that ever had a job, each once, in order.
  std::vector<const Queue*> find(const std::vector<std::string>& names);
  /// The name of the queue that has this number.
  std::string name(std::int64_t number);
  /// The queue of that name, made where there is none. Throws Error (exit 73) when there are 131,071 of them.
  const Queue& make(const std::string& name);
  /// After a transaction that made a queue has failed.
  void forget() { known_.clear(); }

 private:
  const Queue* remember(std::int64_t number, const std::string& name);

  std::unordered_map<std::string, Queue> known_;
  SqliteStatement by_name_, by_number_, insert_;
};

}  // namespace stem
