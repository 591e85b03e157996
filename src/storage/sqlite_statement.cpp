#include "storage/sqlite_statement.hpp"

#include <sqlite3.h>

#include <utility>

#include "storage/sqlite_database.hpp"

namespace stem {

SqliteRows::~SqliteRows() {
  sqlite3_reset(statement_);
}

bool SqliteRows::next() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      throw database_.error();
  }
}

bool SqliteRows::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::int64_t SqliteRows::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::optional<std::int64_t> SqliteRows::maybe(int column) const {
  return is_null(column) ? std::nullopt : std::optional(integer(column));
}

std::string_view SqliteRows::view(int column) const {
  const auto* const data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return {data, data == nullptr ? 0 : static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  const std::lock_guard lock(database_.mutex_);
  if (connection_ == database_.connection_) sqlite3_finalize(statement_);
}

void SqliteStatement::prepare() {
  // What belonged to a connection went with it.
  if (std::exchange(connection_, database_.connection_) != database_.connection_) statement_ = nullptr;
  if (statement_ == nullptr &&
      sqlite3_prepare_v3(database_.handle_, sql_.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement_,
                         nullptr) != SQLITE_OK)
    database_.fail();
}

void SqliteStatement::check_bound(int result) {
  if (result == SQLITE_OK) return;
  bound_ = 0;  // the next run starts with the first argument again
  database_.fail();
}

void SqliteStatement::bind(int index, std::int64_t value) {
  check_bound(sqlite3_bind_int64(statement_, index, value));
}

void SqliteStatement::bind(int index, std::string_view value) {
  // A null pointer would bind NULL.
  const auto* const data = value.data() == nullptr ? "" : value.data();
  check_bound(sqlite3_bind_text64(statement_, index, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void SqliteStatement::bind(int index, std::optional<std::int64_t> value) {
  check_bound(value ? sqlite3_bind_int64(statement_, index, *value) : sqlite3_bind_null(statement_, index));
}

std::int64_t SqliteStatement::execute() {
  bound_ = 0;
  SqliteRows rows(database_, statement_);
  while (rows.next()) {
  }
  return sqlite3_changes64(database_.handle_);
}

}  // namespace stem
