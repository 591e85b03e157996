#pragma once

#include <map>
#include <optional>
#include <span>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string_view>

#include "storage/sqlite_database.hpp"
#include "storage/sqlite_insertion.hpp"
#include "storage/sqlite_key.hpp"
#include "storage/sqlite_leases.hpp"

namespace stem {

/// The rows of jobs, and their ways from zone to zone:
///
///     add ──► ready ◄──► delayed      postpone, promote
///               │  ▲
///          bury ▼  │ unearth
///              dead                   remove: from everywhere
///
/// All calls inside a write transaction; those that change a row return whether it was there.
class SqliteJobs {
 public:
  using Zone = SqliteKey::Zone;

  SqliteJobs(SqliteDatabase& database, SqliteLeases& leases);

  /// At the start of each transaction: what was remembered of the last one may not hold any more.
  void begin() { last_keys_.clear(); }

  struct NewJob {
    std::string_view id;
    std::string_view wire;
    std::int64_t queue;
    int priority;
    int attempt;
    std::optional<WallTime> due;    ///< in the future: delayed
    std::optional<Duration> lease;  ///< the lease that the producer asks for
  };
  /// Adds those whose id is free, or a dead letter's, which is purged; returns how many.
  std::size_t add(std::span<const NewJob> jobs, WallTime now);
  /// Deletes the jobs with the keys from `first` to `last` if all of them are there.
  bool remove(std::int64_t first, std::int64_t last);
  /// The job's next run is at `due`, or at once if that has passed; `attempts` more are finished.
  bool postpone(SqliteKey key, int attempts, WallTime due, WallTime now);
  /// The job keeps its place and may be handed out again; its deliveries are counted anew.
  bool put_back(SqliteKey key);
  bool bury(SqliteKey key, std::string_view reason, const Json& meta, WallTime now);
  /// A dead letter is ready again, as if new.
  bool unearth(SqliteKey key, WallTime now);
  bool purge(SqliteKey key);
  /// Makes up to `limit` delayed jobs of the queue ready whose time has come, the earliest first.
  void promote(std::int64_t queue, std::int64_t limit, WallTime now);
  /// Counts one more delivery that came to no end.
  void count_delivery(std::int64_t first, std::int64_t last);

 private:
  void insert(const NewJob& job, WallTime now);
  /// The key that puts a job behind all others of its lane.
  SqliteKey next_key(Zone zone, std::int64_t queue, std::int64_t lane);

  SqliteLeases& leases_;
  std::map<std::int64_t, std::int64_t>
      last_keys_;  // of the lanes that this transaction has asked for, by first key
  SqliteInsertion insert_;
  SqliteStatement highest_, count_, remove_, move_, put_back_, bury_, unearth_, purge_, dead_, due_, promote_,
      deliver_;
};

}  // namespace stem
