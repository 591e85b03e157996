#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

struct sqlite3_stmt;

namespace stem {

class SqliteDatabase;

/// The rows of one run of a statement. Resets the statement when it goes out of scope.
class SqliteRows {
 public:
  SqliteRows(SqliteDatabase& database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~SqliteRows();
  SqliteRows(const SqliteRows&) = delete;
  SqliteRows& operator=(const SqliteRows&) = delete;

  /// Goes to the next row; false after the last. Throws Error.
  bool next();
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  std::optional<std::int64_t> maybe(int column) const;
  std::string text(int column) const { return std::string(view(column)); }
  /// Valid until the next row.
  std::string_view view(int column) const;

 private:
  SqliteDatabase& database_;
  sqlite3_stmt* statement_;
};

/// A statement that is prepared when it is first used and kept, as long as the connection is. Used only
/// inside a transaction on its database, destroyed only outside.
class SqliteStatement {
 public:
  SqliteStatement(SqliteDatabase& database, std::string sql) : database_(database), sql_(std::move(sql)) {}
  ~SqliteStatement();
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  /// Runs it with these arguments and returns how many rows it changed. Arguments are integers, text,
  /// std::nullopt or optional integers; text is not copied and must live until the call returns.
  template <class... Arguments>
  std::int64_t run(const Arguments&... arguments) {
    add(arguments...);
    return execute();
  }
  /// Sets the next arguments of a statement with many, to be run() when it has all. Text must live until
  /// then.
  template <class... Arguments>
  void add(const Arguments&... arguments) {
    prepare();
    (bind(++bound_, arguments), ...);
  }
  /// Forgets the arguments that add() has set.
  void clear() { bound_ = 0; }
  /// Runs a statement that returns rows. Text must live as long as the rows.
  template <class... Arguments>
  SqliteRows query(const Arguments&... arguments) {
    add(arguments...);
    bound_ = 0;
    return SqliteRows(database_, statement_);
  }
  /// The first column of the first row; empty without a row, or if it is NULL.
  template <class... Arguments>
  std::optional<std::int64_t> number(const Arguments&... arguments) {
    auto rows = query(arguments...);
    return rows.next() ? rows.maybe(0) : std::nullopt;
  }

 private:
  void prepare();
  void bind(int index, std::int64_t value);
  void bind(int index, std::string_view value);
  void bind(int index, std::optional<std::int64_t> value);
  void check_bound(int result);
  std::int64_t execute();

  SqliteDatabase& database_;
  std::string sql_;
  sqlite3_stmt* statement_ = nullptr;
  std::uint64_t connection_ = 0;  // whose it is
  int bound_ = 0;                 // arguments set so far
};

}  // namespace stem
