#include "storage/sqlite_queues.hpp"

#include <algorithm>

#include "storage/sqlite_key.hpp"

namespace stem {

SqliteQueues::SqliteQueues(SqliteDatabase& database)
    : by_name_(database, "SELECT number FROM queue WHERE name = ?"),
      by_number_(database, "SELECT name FROM queue WHERE number = ?"),
      insert_(database, "INSERT INTO queue(name) VALUES(?) RETURNING number") {}

const SqliteQueues::Queue* SqliteQueues::remember(std::int64_t number, const std::string& name) {
  return &known_.insert_or_assign(name, Queue{number, name}).first->second;
}

const SqliteQueues::Queue* SqliteQueues::find(const std::string& name) {
  const auto known = known_.find(name);
  if (known != known_.end()) return &known->second;
  const auto number = by_name_.number(name);
  return number ? remember(*number, name) : nullptr;
}

std::vector<const SqliteQueues::Queue*> SqliteQueues::find(const std::vector<std::string>& names) {
  std::vector<const Queue*> found;
  for (const auto& name : names)
    if (const auto* const queue = find(name);
        queue && std::find(found.begin(), found.end(), queue) == found.end())
      found.push_back(queue);
  return found;
}

std::string SqliteQueues::name(std::int64_t number) {
  auto rows = by_number_.query(number);
  return rows.next() ? rows.text(0) : std::string();
}

const SqliteQueues::Queue& SqliteQueues::make(const std::string& name) {
  if (const auto* const queue = find(name)) return *queue;
  const auto number = insert_.number(name).value_or(0);
  if (number > SqliteKey::last_queue)
    throw Error(Exit::cannot_create,
                "cannot create queue " + name + ": the database holds as many as it can; use fewer names");
  return *remember(number, name);
}

}  // namespace stem
