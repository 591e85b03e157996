#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stem/error.hpp>
#include <stem/time.hpp>
#include <string>
#include <utility>

#include "storage/sqlite_statement.hpp"

struct sqlite3;

namespace stem {

struct SqliteOptions {
  std::string path;              ///< absolute
  bool sync_each_commit = true;  ///< synchronous=FULL; false = NORMAL: a power cut may undo the last commits
  Duration busy_timeout = std::chrono::seconds{5};  ///< how long to wait for another process's transaction
};

/// One connection to a SQLite file. Everything but the constructor is reached through a
/// SqliteTransaction, which holds this connection for its thread.
///
/// A child must inherit no connection, nor what SQLite keeps of one for the whole process: it believes to
/// hold the parent's locks, which the kernel does not pass on. So fork() waits for transactions under way,
/// closes the connections of all databases, and parent and child connect again when they next need it. Do not
/// fork in the middle of a transaction of the same thread, nor make a database there.
class SqliteDatabase {
 public:
  /// Opens the file, creating it where there is none. A file that root creates belongs to the owner of its
  /// directory. Throws Error: 73 cannot be created, disk full; 77 permission; 78 a directory, or not a SQLite
  /// database, or corrupt; 75 busy for too long.
  explicit SqliteDatabase(SqliteOptions options);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  /// The file itself, with symbolic links resolved.
  const std::string& path() const { return path_; }

  /// Switches the file to WAL mode for good, outside a transaction. Throws Error: 78 where the file system
  /// cannot do that.
  void use_wal();
  /// In a transaction: runs statements that return nothing, outside its normal course (migrations, pragmas).
  void run(const char* sql);
  /// What the statement's first row has in its first column.
  std::int64_t number(const char* sql);

  /// The translation of SQLite's last error, to be thrown.
  Error error() const;

 private:
  friend class SqliteStatement;
  friend class SqliteTransaction;

  static void before_fork();
  static void after_fork();
  void enlist();
  void leave();

  void create() const;
  void connect();
  void set_up();
  void disconnect();
  void set_synchronous(bool full);
  bool is_another_file() const;
  void check_still_there() const;
  Error gone() const;
  [[noreturn]] void fail() const { throw error(); }
  static int wait_for_lock(void* self, int attempt);

  const SqliteOptions options_;
  std::string path_;
  std::optional<std::pair<dev_t, ino_t>> file_{};  // what was opened first
  std::mutex mutex_;
  sqlite3* handle_ = nullptr;     // null after a fork, until it is needed
  std::uint64_t connection_ = 0;  // how often it was closed: statements belong to one
  bool full_ = true;              // what `PRAGMA synchronous` says now
  SteadyTime busy_since_{};
  struct Statements;  // of transactions
  std::unique_ptr<Statements> statements_;
};

/// What a transaction needs of the database.
enum class SqliteAccess {
  read,
  /// Commits reach the disk before commit() returns (unless the database was opened to trade that).
  write,
  /// For what may be undone by a power cut, such as leases: the commit is atomic, ordered after all earlier
  /// ones and seen by every process at once, but reaches the disk only with the next durable one.
  write_lazily,
};

/// Holds the connection, and for writing the database, until it goes out of scope; undone unless committed.
class SqliteTransaction {
 public:
  /// Throws Error: 75 when another process has held the database for longer than the busy timeout; 70 when
  /// the file was removed or replaced since it was opened, which only a new process mends.
  SqliteTransaction(SqliteDatabase& database, SqliteAccess access);
  ~SqliteTransaction();
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;

  void commit();

 private:
  SqliteDatabase& database_;
  std::unique_lock<std::mutex> lock_;
  bool open_ = false;
};

}  // namespace stem
