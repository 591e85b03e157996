#pragma once

#include <cstddef>
#include <string>

#include "storage/sqlite_database.hpp"

namespace stem {

/// An INSERT of any number of rows. It goes by statements of many rows where it can: such a statement keeps
/// its place in the tree from row to row, and prepares only once for being undone.
class SqliteInsertion {
 public:
  /// For example `INSERT INTO t(a, b) VALUES`, `(?, ?)`, ` ON CONFLICT(a) DO NOTHING`.
  SqliteInsertion(SqliteDatabase& database, const std::string& head, const std::string& row,
                  const std::string& tail = {})
      : one_(database, head + row + tail), many_(database, head + repeated(row) + tail) {}

  /// Announces how many rows will be added.
  void start(std::size_t rows) {
    in_many_ = rows / at_once * at_once;
    added_ = 0;
    changed_ = 0;
    many_.clear();  // an earlier insertion may have failed half-way
  }
  /// Text must live until all rows are added. Throws Error.
  template <class... Values>
  void add(const Values&... values) {
    if (added_++ >= in_many_) {
      changed_ += one_.run(values...);
      return;
    }
    many_.add(values...);
    if (added_ % at_once == 0) changed_ += many_.run();
  }
  /// How many rows the table got since start().
  std::size_t changed() const { return static_cast<std::size_t>(changed_); }

 private:
  static constexpr std::size_t at_once = 20;
  static std::string repeated(const std::string& row) {
    auto rows = row;
    for (std::size_t i = 1; i < at_once; ++i) rows += "," + row;
    return rows;
  }

  SqliteStatement one_, many_;
  std::size_t in_many_ = 0, added_ = 0;
  std::int64_t changed_ = 0;
};

}  // namespace stem
