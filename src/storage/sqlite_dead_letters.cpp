#include "storage/sqlite_dead_letters.hpp"

#include "storage/instant.hpp"

namespace stem {

SqliteDeadLetters::SqliteDeadLetters(SqliteDatabase& database, SqliteQueues& queues, SqliteJobs& jobs)
    : queues_(queues),
      jobs_(jobs),
      all_(database,
           "SELECT job.key, id, wire, attempt, reason, meta, at FROM dead JOIN job USING(key) "
           "ORDER BY at DESC, dead.key DESC"),
      of_one_(database,
              "SELECT job.key, id, wire, attempt, reason, meta, at FROM dead JOIN job USING(key) "
              "WHERE dead.key BETWEEN ? AND ? ORDER BY at DESC, dead.key DESC"),
      key_(database, "SELECT key FROM job WHERE id = ?") {}

std::vector<DeadJob> SqliteDeadLetters::list(const std::string& name, std::size_t limit) {
  std::vector<DeadJob> found;
  const auto collect = [&](SqliteRows& rows) {
    while (found.size() < limit && rows.next()) {
      found.push_back({.id = rows.text(1),
                       .queue = queues_.name(SqliteKey(rows.integer(0)).queue()),
                       .wire = rows.text(2),
                       .attempt = static_cast<int>(rows.integer(3)),
                       .reason = rows.text(4),
                       .meta = Json::parse(rows.view(5), nullptr, false),
                       .dead_at = wall_time(rows.integer(6))});
    }
  };
  if (name.empty()) {
    auto rows = all_.query();
    collect(rows);
  } else if (const auto* const queue = queues_.find(name)) {
    const SqliteKey start(SqliteKey::Zone::dead, queue->number, 0, 0);
    auto rows = of_one_.query(start.value(), start.end_of_queue());
    collect(rows);
  }
  return found;
}

std::vector<SqliteKey> SqliteDeadLetters::keys(std::span<const std::string> ids) {
  std::vector<SqliteKey> found;
  for (const auto& id : ids) {
    const auto key = key_.number(id);
    if (key && SqliteKey(*key).zone() == SqliteKey::Zone::dead) found.emplace_back(*key);
  }
  return found;
}

std::size_t SqliteDeadLetters::replay(std::span<const std::string> ids, WallTime now) {
  std::size_t replayed = 0;
  jobs_.begin();
  for (const auto key : keys(ids)) replayed += jobs_.unearth(key, now);
  return replayed;
}

std::size_t SqliteDeadLetters::purge(std::span<const std::string> ids) {
  std::size_t purged = 0;
  for (const auto key : keys(ids)) purged += jobs_.purge(key);
  return purged;
}

}  // namespace stem
