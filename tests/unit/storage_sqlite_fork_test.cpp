#include <doctest/doctest.h>
#include <sys/wait.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "child_process.hpp"
#include "error_of.hpp"
#include "storage/sqlite_database.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

// The process that has a database open forks.

namespace {

Storage open(const std::string& path) {
  return open_storage(StorageRig::config_of("sqlite://" + path));
}

void publish(const Storage& storage, const std::string& name, int count) {
  for (int i = 0; i < count; ++i) {
    Envelope job;
    job.id = name + "-" + std::to_string(i);
    job.name = "test.task";
    if (storage.broker->publish({&job, 1}) != 1) throw std::runtime_error("not published");
  }
}

std::size_t jobs_in(const std::string& path) {
  std::size_t count = 0;
  for (const auto& queue : open(path).broker->depths()) count += static_cast<std::size_t>(queue.ready);
  return count;
}

/// One process opens it for another to pass, once.
struct Gate {
  int ends[2];
  Gate() { REQUIRE(pipe(ends) == 0); }
  ~Gate() {
    close(ends[0]);
    close(ends[1]);
  }
  void open() { REQUIRE(write(ends[1], "", 1) == 1); }
  void pass() {
    pollfd fd{ends[0], POLLIN, 0};
    REQUIRE(poll(&fd, 1, 20'000) == 1);
    char byte;
    REQUIRE(read(ends[0], &byte, 1) == 1);
  }
};

}  // namespace

TEST_CASE("sqlite: what a child of a process that had the database open writes outlives its parent") {
  TempDir dir;
  const auto path = dir / "stem.db";
  Gate written, parent_has_ended;
  bool anew = false;
  SUBCASE("with connections of its own") {
    anew = true;
  }
  SUBCASE("with those that it has from its parent") {}
  ChildProcess parent([&] {
    auto storage = open(path);
    publish(storage, "parent", 2);
    if (fork() == 0) {
      Storage own;
      if (anew) own = open(path);
      const auto& mine = anew ? own : storage;
      publish(mine, "before", 1);
      written.open();
      parent_has_ended.pass();
      publish(mine, "after", 20);
      written.open();
      _exit(0);
    }
    written.pass();
    publish(storage, "still-parent", 1);
    storage = {};  // as the last one, as far as it can see
    return 0;
  });
  REQUIRE(parent.wait() == 0);
  parent_has_ended.open();
  written.pass();
  CHECK(jobs_in(path) == 24);
}

TEST_CASE("sqlite: a process whose threads publish may fork at any time") {
  TempDir dir;
  const auto path = dir / "stem.db";
  constexpr int threads = 3, children = 25, each = 4;
  std::atomic<int> published{0};
  ChildProcess parent([&] {
    const auto storage = open(path);
    std::atomic<bool> stop{false};
    std::vector<std::thread> publishers;
    std::atomic<int> count{0}, wrong{0};
    for (int t = 0; t < threads; ++t)
      publishers.emplace_back([&, t] {
        for (int i = 0; !stop; ++i) try {
            publish(storage, std::to_string(t) + "-" + std::to_string(i), 1);
            ++count;
          } catch (...) {
            ++wrong;
          }
      });
    // Connections come and go meanwhile.
    std::thread visitor([&] {
      while (!stop) try {
          (void)open(path).broker->depths();
        } catch (...) {
          ++wrong;
        }
    });
    for (int c = 0; c < children; ++c) {
      const auto child = fork();
      if (child == 0) {
        try {
          publish(storage, "child-" + std::to_string(c), each);
          publish(open(path), "anew-" + std::to_string(c), each);
        } catch (...) {
          _exit(1);
        }
        _exit(0);
      }
      int status = 0;
      if (child < 0 || waitpid(child, &status, 0) != child || status != 0) ++wrong;
    }
    stop = true;
    for (auto& one : publishers) one.join();
    visitor.join();
    std::ofstream(dir / "count") << count;
    return wrong == 0 ? 0 : 1;
  });
  REQUIRE(parent.wait(120'000) == 0);
  const auto count = std::stoi(content_of(dir / "count"));
  CHECK(count > 0);
  CHECK(jobs_in(path) == static_cast<std::size_t>(count + 2 * children * each));
}

TEST_CASE("sqlite: a fork waits for a transaction that is under way, and cuts none in two") {
  TempDir dir;
  const auto path = dir / "any.db";
  SqliteDatabase database({.path = path});
  {
    SqliteTransaction writing(database, SqliteAccess::write);
    database.run("CREATE TABLE t(a)");
    writing.commit();
  }
  std::atomic<bool> begun{false}, forked{false};
  std::thread writer([&] {
    SqliteTransaction writing(database, SqliteAccess::write);
    database.run("INSERT INTO t VALUES(1)");
    begun = true;
    // Time enough for the fork to happen, if it did not wait.
    eventually([&] { return forked.load(); }, 100);
    database.run("INSERT INTO t VALUES(2)");
    writing.commit();
  });
  while (!begun) std::this_thread::yield();
  ChildProcess child([&] {
    SqliteTransaction reading(database, SqliteAccess::read);
    return static_cast<int>(database.number("SELECT count(*) FROM t"));
  });
  forked = true;
  writer.join();
  CHECK(child.wait() == 2);
  SqliteTransaction reading(database, SqliteAccess::read);
  CHECK(database.number("SELECT count(*) FROM t") == 2);
}

TEST_CASE("sqlite: after a fork a connection is set up as before") {
  TempDir dir;
  for (const bool full : {true, false}) {
    SqliteDatabase database({.path = dir / "any.db", .sync_each_commit = full});
    CHECK(ChildProcess([] { return 0; }).wait() == 0);
    SqliteTransaction reading(database, SqliteAccess::read);
    CHECK(database.number("PRAGMA synchronous") == (full ? 2 : 1));
    CHECK(database.number("PRAGMA temp_store") == 2);
    CHECK(database.number("PRAGMA cache_size") == -2048);
  }
}

TEST_CASE("sqlite: a database that was removed or replaced is not taken for the same after a fork, either") {
  SqliteRig rig;
  rig.enqueue({"a"});
  const auto check = [&] {
    const auto failed = error_of([&] { rig.fetch(); });
    CHECK(failed.status == 70);
    CHECK(failed.message.find("was removed or replaced under this process") != std::string::npos);
  };
  std::filesystem::rename(rig.path(), rig.path() + ".old");
  CHECK(ChildProcess([] { return 0; }).wait() == 0);
  check();
  rig.dir.file("stem.db", "");
  check();
  std::filesystem::rename(rig.path() + ".old", rig.path());
  CHECK(rig.fetch().size() == 1);
}

TEST_CASE("sqlite: a fork leaves no descriptor of a database open in the child") {
  SqliteRig rig;
  rig.enqueue({"a"});
  ChildProcess child([&] {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      if (std::filesystem::read_symlink(entry.path(), gone).string().starts_with(rig.path())) return 1;
    }
    return 0;
  });
  CHECK(child.wait() == 0);
  CHECK(rig.fetch().size() == 1);
}
