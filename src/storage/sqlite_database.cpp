#include "storage/sqlite_database.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <thread>
#include <vector>

#include "core/descriptor.hpp"
#include "storage/sqlite_error.hpp"

namespace stem {
namespace {

constexpr int cache_kib = 2048;      // an idle worker is small
constexpr int wal_pages = 2000;      // 8 MiB between checkpoints
constexpr int wal_bytes = 64 << 20;  // what a burst may leave behind on disk
constexpr Duration longest_nap = std::chrono::milliseconds{5};

/// The databases of this process. Whoever holds a transaction must not wait for this.
struct Everyone {
  std::mutex mutex;
  std::vector<SqliteDatabase*> all;
};

Everyone& everyone() {
  static auto* const one = new Everyone;  // for forks until the very end
  return *one;
}

/// Run once, inside of what holds the connection.
class SingleStatement {
 public:
  SingleStatement(sqlite3* handle, const char* sql) {
    sqlite3_prepare_v2(handle, sql, -1, &statement_, nullptr);
  }
  ~SingleStatement() { sqlite3_finalize(statement_); }
  SingleStatement(const SingleStatement&) = delete;
  SingleStatement& operator=(const SingleStatement&) = delete;
  sqlite3_stmt* get() const { return statement_; }  ///< null if it could not be prepared

 private:
  sqlite3_stmt* statement_ = nullptr;
};

}  // namespace

struct SqliteDatabase::Statements {
  explicit Statements(SqliteDatabase& database)
      : begin(database, "BEGIN"), begin_immediate(database, "BEGIN IMMEDIATE"), commit(database, "COMMIT") {}
  SqliteStatement begin, begin_immediate, commit;
};

SqliteDatabase::SqliteDatabase(SqliteOptions options)
    : options_(std::move(options)), path_(options_.path), statements_(std::make_unique<Statements>(*this)) {
  enlist();
  try {
    const std::lock_guard lock(mutex_);
    create();
    connect();
  } catch (...) {
    leave();
    throw;
  }
}

SqliteDatabase::~SqliteDatabase() {
  statements_.reset();
  leave();
}

void SqliteDatabase::before_fork() {
  auto& [mutex, all] = everyone();
  mutex.lock();
  for (auto* const database : all) {
    database->mutex_.lock();
    // What is in the log stays there for whoever comes next: a checkpoint waits for the disk.
    if (database->handle_) sqlite3_db_config(database->handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    database->disconnect();
  }
}

void SqliteDatabase::after_fork() {
  auto& [mutex, all] = everyone();
  for (auto* const database : all) database->mutex_.unlock();
  mutex.unlock();
}

/// From here until leave(), a fork finds this database.
void SqliteDatabase::enlist() {
  static const int registered = pthread_atfork(before_fork, after_fork, after_fork);
  if (registered != 0) throw std::bad_alloc();
  auto& [mutex, all] = everyone();
  const std::lock_guard lock(mutex);
  all.push_back(this);
}

void SqliteDatabase::leave() {
  auto& [mutex, all] = everyone();
  const std::lock_guard lock(mutex);
  disconnect();
  std::erase(all, this);
}

void SqliteDatabase::create() const {
  struct stat there {};
  if (::stat(path_.c_str(), &there) == 0) {
    if (S_ISDIR(there.st_mode))
      throw Error(Exit::config,
                  "cannot open database " + path_ + ": it is a directory; name a file inside it");
    return;
  }
  // SQLite could do this too, but would make the file readable for everyone.
  const Descriptor made(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660));
  if (!made) {
    if (errno == EEXIST) return;
    throw sqlite_file_error(path_, errno);
  }
  if (::stat(std::filesystem::path(path_).parent_path().c_str(), &there) != 0) return;
  // Root's first `stem enqueue` must not lock the service's own account out of its database.
  if (::geteuid() == 0 && there.st_uid != 0 && ::fchown(made.get(), there.st_uid, there.st_gid) < 0)
    throw sqlite_file_error(path_, errno);
  // A directory that a group shares is for databases that the group shares, whatever the umask of the first
  // to come is. SQLite makes the files beside it with the same mode.
  constexpr mode_t shared = S_ISGID | S_IWGRP;
  if ((there.st_mode & shared) == shared && ::fchmod(made.get(), 0660) < 0)
    throw sqlite_file_error(path_, errno);
}

/// Where there is no connection: at first, and after a fork.
void SqliteDatabase::connect() {
  if (handle_) return;
  try {
    set_up();
  } catch (...) {
    disconnect();
    throw;
  }
}

void SqliteDatabase::set_up() {
  if (file_ && is_another_file()) throw gone();
  // One connection a process, guarded by mutex_, so that SQLite need not lock again on each call.
  constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  if (sqlite3_open_v2(path_.c_str(), &handle_, flags, nullptr) != SQLITE_OK) {
    if (handle_ == nullptr) throw std::bad_alloc();
    fail();
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_handler(handle_, &wait_for_lock, this);
  if (!file_) {
    if (const auto* resolved = sqlite3_db_filename(handle_, "main")) path_ = resolved;
    struct stat opened {};
    if (::stat(path_.c_str(), &opened) == 0) file_.emplace(opened.st_dev, opened.st_ino);
  }
  if (sqlite3_db_readonly(handle_, "main") == 1) throw sqlite_file_error(path_, EACCES);
  // Deleted jobs need not be wiped (Debian's default), and are not worth a page write each.
  run(("PRAGMA cache_size=-" + std::to_string(cache_kib) +
       "; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF;"
       "PRAGMA journal_size_limit=" +
       std::to_string(wal_bytes) + "; PRAGMA wal_autocheckpoint=" + std::to_string(wal_pages))
          .c_str());
  set_synchronous(options_.sync_each_commit);
}

void SqliteDatabase::disconnect() {
  if (!handle_) return;
  while (auto* const statement = sqlite3_next_stmt(handle_, nullptr)) sqlite3_finalize(statement);
  sqlite3_close(handle_);
  handle_ = nullptr;
  ++connection_;
}

void SqliteDatabase::use_wal() {
  const std::lock_guard lock(mutex_);
  connect();
  // Several processes may be doing this to the same new file; SQLite does not call the busy handler here.
  const auto deadline = std::chrono::steady_clock::now() + options_.busy_timeout;
  while (sqlite3_exec(handle_, "PRAGMA journal_mode=WAL", nullptr, nullptr, nullptr) != SQLITE_OK) {
    if ((sqlite3_errcode(handle_) & 0xff) != SQLITE_BUSY || std::chrono::steady_clock::now() >= deadline)
      fail();
    std::this_thread::sleep_for(longest_nap);
  }
  const SingleStatement mode(handle_, "PRAGMA journal_mode");
  if (!mode.get()) fail();
  SqliteRows rows(*this, mode.get());
  if (!rows.next() || rows.text(0) != "wal")
    throw Error(Exit::config, "cannot open database " + path_ +
                                  ": its file system lacks shared memory (a network file "
                                  "system?); put the database on a local disk");
}

void SqliteDatabase::set_synchronous(bool full) {
  run(full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
  full_ = full;
}

/// Whether what is at the path now is not what was opened first.
bool SqliteDatabase::is_another_file() const {
  struct stat there {};
  if (::stat(path_.c_str(), &there) != 0) return errno == ENOENT || errno == ENOTDIR;
  return *file_ != std::pair(there.st_dev, there.st_ino);
}

void SqliteDatabase::check_still_there() const {
  // In WAL mode nothing else notices that the file was deleted or replaced: jobs would go to a file without a
  // name, and an idle worker would look into it for ever. Costs one stat(2).
  int moved = 0;
  sqlite3_file_control(handle_, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  if (moved != 0) throw gone();
}

Error SqliteDatabase::gone() const {
  return {Exit::software, "database " + path_ +
                              " was removed or replaced under this process, which cannot use it any "
                              "more; restart the worker"};
}

int SqliteDatabase::wait_for_lock(void* self, int attempt) {
  auto& database = *static_cast<SqliteDatabase*>(self);
  const auto now = std::chrono::steady_clock::now();
  if (attempt == 0) database.busy_since_ = now;
  if (now - database.busy_since_ >= database.options_.busy_timeout) return 0;
  // A transaction takes about as long as the disk's flush: start below that, for the sake of latency.
  const auto nap = std::min(longest_nap, Duration{50} * (1 << std::min(attempt, 10)));
  std::this_thread::sleep_for(nap);
  return 1;
}

void SqliteDatabase::run(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail();
}

std::int64_t SqliteDatabase::number(const char* sql) {
  const SingleStatement statement(handle_, sql);
  if (!statement.get()) fail();
  SqliteRows rows(*this, statement.get());
  return rows.next() ? rows.integer(0) : 0;
}

Error SqliteDatabase::error() const {
  return sqlite_error(handle_, path_, options_.busy_timeout);
}

SqliteTransaction::SqliteTransaction(SqliteDatabase& database, SqliteAccess access)
    : database_(database), lock_(database.mutex_) {
  database.connect();
  database.check_still_there();
  if (access == SqliteAccess::read) {
    database.statements_->begin.run();
    open_ = true;
    return;
  }
  // Only possible between transactions. WAL frames are written in order and synced as one file, so a commit
  // that was not synced is made durable by the next one that is, and never outlives one that came before it.
  const bool full = access == SqliteAccess::write && database.options_.sync_each_commit;
  if (full != database.full_) database.set_synchronous(full);
  database.statements_->begin_immediate.run();
  open_ = true;
}

SqliteTransaction::~SqliteTransaction() {
  // After some errors SQLite has rolled back by itself.
  if (open_ && sqlite3_get_autocommit(database_.handle_) == 0)
    sqlite3_exec(database_.handle_, "ROLLBACK", nullptr, nullptr, nullptr);
}

void SqliteTransaction::commit() {
  database_.statements_->commit.run();
  open_ = false;
}

}  // namespace stem
