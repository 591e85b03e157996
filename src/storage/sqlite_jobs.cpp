#include "storage/sqlite_jobs.hpp"

#include <algorithm>
#include <vector>

#include "storage/instant.hpp"

namespace stem {

SqliteJobs::SqliteJobs(SqliteDatabase& database, SqliteLeases& leases)
    : leases_(leases),
      insert_(database,
              "INSERT INTO job(key, id, queue, since, due, lease, attempt, deliveries, wire) VALUES",
              "(?, ?, ?, ?, ?, ?, ?, 0, ?)", " ON CONFLICT(id) DO NOTHING"),
      highest_(database, "SELECT max(key) FROM job WHERE key BETWEEN ? AND ?"),
      count_(database, "SELECT count(*) FROM job WHERE key BETWEEN ? AND ?"),
      remove_(database, "DELETE FROM job WHERE key BETWEEN ? AND ?"),
      move_(database,
            "UPDATE job SET key = ?2, since = ?3, due = ?4, attempt = attempt + ?5, deliveries = 0 WHERE key "
            "= ?1"),
      put_back_(database, "UPDATE job SET deliveries = 0 WHERE key = ?"),
      bury_(database, "INSERT INTO dead(key, at, reason, meta) VALUES(?, ?, ?, ?)"),
      unearth_(database, "UPDATE job SET key = ?2, since = ?3, attempt = 0, deliveries = 0 WHERE key = ?1"),
      purge_(database, "DELETE FROM dead WHERE key = ?"),
      dead_(database, "SELECT key FROM job WHERE id = ? AND key >= ?"),
      due_(database, "SELECT key, due FROM job WHERE queue = ? AND due <= ? ORDER BY due LIMIT ?"),
      promote_(database, "UPDATE job SET key = ?2, due = NULL WHERE key = ?1"),
      deliver_(database, "UPDATE job SET deliveries = deliveries + 1 WHERE key BETWEEN ? AND ?") {}

SqliteKey SqliteJobs::next_key(Zone zone, std::int64_t queue, std::int64_t lane) {
  const SqliteKey start(zone, queue, lane, 0);
  auto [known, fresh] = last_keys_.try_emplace(start.value(), start.value());
  auto& last = known->second;
  if (fresh) {
    last = std::max(last, highest_.number(start.value(), start.end_of_lane()).value_or(0));
    // The jobs at the end of a span may be gone already, while earlier ones are still worked on.
    if (zone == Zone::ready) last = std::max(last, leases_.highest(start.value(), start.end_of_lane()));
  }
  if (last == start.end_of_lane()) throw Error(Exit::software, "a queue's numbers are used up");
  return SqliteKey(++last);
}

void SqliteJobs::insert(const NewJob& job, WallTime now) {
  const bool delayed = job.due && *job.due > now;
  // Where the id is taken the key stays unused: lanes may have gaps.
  const auto key =
      next_key(delayed ? Zone::delayed : Zone::ready, job.queue, SqliteKey::lane_of(job.priority));
  const auto due = delayed ? std::optional(micros(*job.due)) : std::nullopt;
  const auto lease = job.lease ? std::optional<std::int64_t>(job.lease->count()) : std::nullopt;
  insert_.add(key.value(), job.id, job.queue, due.value_or(micros(now)), due, lease, job.attempt, job.wire);
}

std::size_t SqliteJobs::add(std::span<const NewJob> jobs, WallTime now) {
  insert_.start(jobs.size());
  for (const auto& job : jobs) insert(job, now);
  auto added = insert_.changed();
  if (added == jobs.size()) return added;
  // Some ids were taken. Dead letters give way; looking for them only now spares everyone else the search.
  for (const auto& job : jobs) {
    const auto dead = dead_.number(job.id, SqliteKey(Zone::dead, 0, 0, 0).value());
    if (!dead) continue;
    purge(SqliteKey(*dead));
    insert_.start(1);
    insert(job, now);
    added += insert_.changed();
  }
  return added;
}

bool SqliteJobs::remove(std::int64_t first, std::int64_t last) {
  if (first != last && count_.number(first, last) != last - first + 1) return false;
  return remove_.run(first, last) > 0;
}

bool SqliteJobs::postpone(SqliteKey key, int attempts, WallTime due, WallTime now) {
  const bool delayed = due > now;
  const auto moved = next_key(delayed ? Zone::delayed : Zone::ready, key.queue(), key.lane());
  return move_.run(key.value(), moved.value(), micros(std::max(due, now)),
                   delayed ? std::optional(micros(due)) : std::nullopt, attempts) > 0;
}

bool SqliteJobs::put_back(SqliteKey key) {
  return put_back_.run(key.value()) > 0;
}

bool SqliteJobs::bury(SqliteKey key, std::string_view reason, const Json& meta, WallTime now) {
  const auto moved = next_key(Zone::dead, key.queue(), key.lane());
  if (move_.run(key.value(), moved.value(), micros(now), std::nullopt, 0) == 0) return false;
  // Reasons and what is known of a failure come from handlers: not always UTF-8.
  bury_.run(moved.value(), micros(now), reason, meta.dump(-1, ' ', false, Json::error_handler_t::replace));
  return true;
}

bool SqliteJobs::unearth(SqliteKey key, WallTime now) {
  if (purge_.run(key.value()) == 0) return false;
  return unearth_.run(key.value(), next_key(Zone::ready, key.queue(), key.lane()).value(), micros(now)) > 0;
}

bool SqliteJobs::purge(SqliteKey key) {
  return purge_.run(key.value()) > 0 && remove_.run(key.value(), key.value()) > 0;
}

void SqliteJobs::promote(std::int64_t queue, std::int64_t limit, WallTime now) {
  std::vector<SqliteKey> due;
  for (auto rows = due_.query(queue, micros(now), limit); rows.next();) due.emplace_back(rows.integer(0));
  for (const auto key : due) promote_.run(key.value(), next_key(Zone::ready, queue, key.lane()).value());
}

void SqliteJobs::count_delivery(std::int64_t first, std::int64_t last) {
  deliver_.run(first, last);
}

}  // namespace stem
