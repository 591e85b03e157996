#pragma once

#include <span>

#include "storage/postgres_connection.hpp"

namespace stem {

/// One step of the schema's history: from the version before to `version`.
struct PostgresMigration {
  int version;
  const char* sql;
};

/// All of them, in order; the last one's version is the one this program knows. docs/postgres.md says how to
/// add one.
std::span<const PostgresMigration> postgres_migrations();

/// Makes the schema of that name, with the tables of the last migration, in one transaction; any number of
/// processes may do so at the same time. Throws PostgresError: 78 when the tables are newer, or the schema is
/// somebody else's.
void bring_up_to_date(PostgresConnection& connection, const std::string& schema,
                      std::span<const PostgresMigration> migrations = postgres_migrations());

}  // namespace stem
