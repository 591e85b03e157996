#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "worker_figures.hpp"

/// The least that a queue on SQLite does: it deletes and leases as many at once as bare_batch says.
class BareQueue {
 public:
  explicit BareQueue(const std::string& path) {
    check(sqlite3_open_v2(path.c_str(), &database_,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr));
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-2048; PRAGMA secure_delete=OFF;"
        "PRAGMA wal_autocheckpoint=2000; CREATE TABLE job(id INTEGER PRIMARY KEY, lease INTEGER NOT NULL, "
        "wire TEXT NOT NULL)");
    begin_ = prepare("BEGIN IMMEDIATE");
    commit_ = prepare("COMMIT");
    insert_ = prepare("INSERT INTO job(lease, wire) VALUES(0, ?)");
    delete_ = prepare("DELETE FROM job WHERE id = ?");
    lease_ = prepare(
        "UPDATE job SET lease = ? WHERE id IN (SELECT id FROM job WHERE lease = 0 ORDER BY id LIMIT ?) "
        "RETURNING id, wire");
  }
  ~BareQueue() {
    for (auto* statement : {begin_, commit_, insert_, delete_, lease_}) sqlite3_finalize(statement);
    sqlite3_close(database_);
  }
  BareQueue(const BareQueue&) = delete;
  BareQueue& operator=(const BareQueue&) = delete;

  void publish(std::span<const std::string> wires) {
    step(begin_);
    for (const auto& wire : wires) {
      sqlite3_bind_text(insert_, 1, wire.data(), static_cast<int>(wire.size()), SQLITE_STATIC);
      step(insert_);
    }
    step(commit_);
  }
  std::size_t drain() {
    std::size_t done = 0;
    std::vector<std::int64_t> leased;
    std::vector<std::string> wires;
    do {
      step(begin_);
      for (const auto id : leased) {
        sqlite3_bind_int64(delete_, 1, id);
        step(delete_);
      }
      done += leased.size();
      leased.clear();
      wires.clear();
      sqlite3_bind_int64(lease_, 1, std::chrono::system_clock::now().time_since_epoch().count());
      sqlite3_bind_int64(lease_, 2, bare_batch);
      while (sqlite3_step(lease_) == SQLITE_ROW) {
        leased.push_back(sqlite3_column_int64(lease_, 0));
        wires.emplace_back(reinterpret_cast<const char*>(sqlite3_column_text(lease_, 1)),
                           static_cast<std::size_t>(sqlite3_column_bytes(lease_, 1)));
      }
      check(sqlite3_reset(lease_));
      step(commit_);
    } while (!leased.empty());
    return done;
  }

 private:
  void check(int result) {
    if (result != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(database_));
  }
  void run(const char* sql) { check(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr)); }
  void step(sqlite3_stmt* statement) {
    sqlite3_step(statement);
    check(sqlite3_reset(statement));
  }
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
    return statement;
  }

  sqlite3* database_ = nullptr;
  sqlite3_stmt *begin_, *commit_, *insert_, *delete_, *lease_;
};
