#pragma once

#include <span>

#include "storage/sqlite_database.hpp"

namespace stem {

/// One step of the schema's history: from the version before to `version`.
struct SqliteMigration {
  int version;
  const char* sql;
};

/// All of them, in order; the last one's version is the one this program knows. docs/sqlite.md says how to
/// add one.
std::span<const SqliteMigration> sqlite_migrations();

/// Makes the file a Stem database in WAL mode, of the version of the last migration, in one transaction; any
/// number of processes may do so at the same time. Throws Error: 78 when the database is newer, or belongs to
/// another program.
void bring_up_to_date(SqliteDatabase& database,
                      std::span<const SqliteMigration> migrations = sqlite_migrations());

}  // namespace stem
