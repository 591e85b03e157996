#include "storage/sqlite_schema.hpp"

#include <array>
#include <string>

namespace stem {
namespace {

constexpr std::int64_t application = 0x5374656d;  // "Stem", shown by file(1)

// What the columns mean is told in docs/sqlite.md.
constexpr std::array migrations{
    SqliteMigration{1, R"(
      CREATE TABLE queue(
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE);
      CREATE TABLE job(
        key INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        queue INTEGER NOT NULL,
        since INTEGER NOT NULL,
        due INTEGER,
        lease INTEGER,
        attempt INTEGER NOT NULL,
        deliveries INTEGER NOT NULL,
        wire TEXT NOT NULL);
      CREATE UNIQUE INDEX job_id ON job(id);
      CREATE INDEX job_due ON job(queue, due) WHERE due IS NOT NULL;
      CREATE TABLE lease(
        first INTEGER PRIMARY KEY,
        last INTEGER NOT NULL,
        token INTEGER NOT NULL,
        until INTEGER NOT NULL,
        consumer TEXT NOT NULL);
      CREATE TABLE dead(
        key INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL,
        meta TEXT NOT NULL);
      CREATE INDEX dead_at ON dead(at);
      CREATE TABLE entry(
        version INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        expires INTEGER,
        value TEXT NOT NULL);
      CREATE TABLE expiry(
        at INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY(at, first)) WITHOUT ROWID;
    )"},
    SqliteMigration{2, R"(
      CREATE TABLE message(
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        channel TEXT NOT NULL,
        expires INTEGER NOT NULL,
        wire TEXT NOT NULL);
      CREATE INDEX message_channel ON message(channel);
      CREATE INDEX message_expires ON message(expires);
    )"},
};

void refuse_newer(const SqliteDatabase& database, std::int64_t found, int known) {
  if (found > known)
    throw Error(Exit::config, "database " + database.path() + " has schema version " + std::to_string(found) +
                                  ", this program knows up to " + std::to_string(known) +
                                  "; upgrade this program");
}

}  // namespace

std::span<const SqliteMigration> sqlite_migrations() {
  return migrations;
}

void bring_up_to_date(SqliteDatabase& database, std::span<const SqliteMigration> steps) {
  const int known = steps.back().version;
  bool current = false;
  {
    SqliteTransaction reading(database, SqliteAccess::read);
    const auto version = database.number("PRAGMA user_version");
    const auto owner = database.number("PRAGMA application_id");
    if (owner != application &&
        (owner != 0 || version != 0 || database.number("SELECT count(*) FROM sqlite_schema") != 0))
      throw Error(Exit::config,
                  "database " + database.path() + " belongs to another program; name another file");
    refuse_newer(database, version, known);
    current = version == known;
  }
  database.use_wal();
  if (current) return;
  SqliteTransaction writing(database, SqliteAccess::write);
  // Another process may have been faster.
  const auto version = database.number("PRAGMA user_version");
  refuse_newer(database, version, known);
  for (const auto& step : steps) {
    if (step.version <= version) continue;
    database.run(step.sql);
    database.run(("PRAGMA user_version=" + std::to_string(step.version)).c_str());
  }
  database.run(("PRAGMA application_id=" + std::to_string(application)).c_str());
  writing.commit();
}

}  // namespace stem
