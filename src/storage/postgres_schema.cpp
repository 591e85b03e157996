#include "storage/postgres_schema.hpp"

#include <array>
#include <charconv>

namespace stem {
namespace {

// What the columns mean is told in docs/postgres.md. Half of each page is left free, so that a lease goes
// onto the page of its job and changes no index.
constexpr std::array migrations{
    PostgresMigration{1, R"(
      CREATE SEQUENCE number;
      CREATE SEQUENCE version INCREMENT BY 1024;
      CREATE TABLE job(
        key bigint PRIMARY KEY,
        place bigint NOT NULL,
        since bigint NOT NULL,
        until bigint NOT NULL DEFAULT 0,
        token bigint NOT NULL DEFAULT 0,
        due bigint,
        lease bigint,
        dead_at bigint,
        attempt bigint NOT NULL,
        deliveries bigint NOT NULL DEFAULT 0,
        lane smallint NOT NULL,
        id text COLLATE "C" NOT NULL,
        queue text COLLATE "C" NOT NULL,
        consumer text COLLATE "C" NOT NULL DEFAULT '',
        wire bytea NOT NULL,
        reason bytea,
        meta bytea)
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
              autovacuum_vacuum_cost_delay = 0);
      CREATE UNIQUE INDEX job_id ON job(id);
      CREATE INDEX job_ready ON job(queue, lane, place) WHERE due IS NULL AND dead_at IS NULL;
      CREATE INDEX job_due ON job(queue, due) WHERE due IS NOT NULL;
      CREATE INDEX job_dead ON job(dead_at, place) WHERE dead_at IS NOT NULL;
      CREATE TABLE entry(
        key text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        expires bigint,
        value bytea NOT NULL)
        WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
      CREATE INDEX entry_expires ON entry(expires) WHERE expires IS NOT NULL;
      CREATE TABLE message(
        number bigint PRIMARY KEY,
        channel text COLLATE "C" NOT NULL,
        expires bigint NOT NULL,
        wire bytea NOT NULL);
      CREATE INDEX message_channel ON message(channel, number);
      CREATE INDEX message_expires ON message(expires);
      CREATE TABLE publication(
        slot bigint PRIMARY KEY,
        number bigint NOT NULL,
        added bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now())
        WITH (fillfactor = 50);
      CREATE TABLE said(last bigint NOT NULL);
      INSERT INTO said VALUES(0);
    )"},
};

int number_in(std::string_view text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

/// 0 where there are no tables yet.
int version_of(PostgresConnection& connection, const std::string& schema) {
  const auto name = "'\"" + schema + "\"'";  // a schema's name has no quotes of its own
  const auto found =
      connection.execute("SELECT to_regnamespace(" + name + ") IS NOT NULL, to_regclass('\"" + schema +
                         "\".stem_schema') IS NOT NULL, "
                         "(SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(" +
                         name + "))");
  const auto& row = found.at(0);
  if (row.text(0, 1) == "t")
    return number_in(connection.execute("SELECT version FROM stem_schema").at(0).text(0, 0));
  if (row.text(0, 2) != "0")
    throw PostgresError(Exit::config,
                        "schema " + schema + " of " + connection.shown() +
                            " belongs to another program; name another one: ?schema=NAME",
                        "");
  return 0;
}

void refuse_newer(const PostgresConnection& connection, const std::string& schema, int found, int known) {
  if (found > known)
    throw PostgresError(Exit::config,
                        "schema " + schema + " of " + connection.shown() + " has version " +
                            std::to_string(found) + ", this program knows up to " + std::to_string(known) +
                            "; upgrade this program",
                        "");
}

}  // namespace

std::span<const PostgresMigration> postgres_migrations() {
  return migrations;
}

void bring_up_to_date(PostgresConnection& connection, const std::string& schema,
                      std::span<const PostgresMigration> steps) {
  const int known = steps.back().version;
  const int found = version_of(connection, schema);
  refuse_newer(connection, schema, found, known);
  if (found == known) return;
  // Others wait here, and find the work done. The number is 'Stem' in ASCII.
  connection.execute("BEGIN; SELECT pg_advisory_xact_lock(x'5374656d'::int, hashtext('" + schema + "'))");
  const int version = version_of(connection, schema);
  refuse_newer(connection, schema, version, known);
  std::string sql;
  if (version == 0) {
    if (connection.execute("SELECT to_regnamespace('\"" + schema + "\"') IS NULL").at(0).text(0, 0) == "t")
      sql += "CREATE SCHEMA \"" + schema + "\";";
    sql += "CREATE TABLE stem_schema(version integer NOT NULL); INSERT INTO stem_schema VALUES(0);";
  }
  for (const auto& step : steps)
    if (step.version > version) sql += step.sql;
  connection.execute(sql + "UPDATE stem_schema SET version = " + std::to_string(known) + "; COMMIT");
}

}  // namespace stem
