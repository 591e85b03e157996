#include <doctest/doctest.h>
#include <sys/mman.h>

#include <atomic>
#include <future>
#include <thread>

#include "child_process.hpp"
#include "error_of.hpp"
#include "storage/sqlite_database.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

// What goes wrong around a SQLite broker, and must not go wrong inside it.

namespace {

/// Tells how often it was asked.
class AskedClock : public HandClock {
 public:
  WallTime wall() const override {
    const auto now = HandClock::wall();
    ++asked;
    return now;
  }
  mutable std::atomic<int> asked{0};
};

std::int64_t number_in(const std::string& path, const char* sql) {
  SqliteDatabase database({.path = path});
  SqliteTransaction reading(database, SqliteAccess::read);
  return database.number(sql);
}

}  // namespace

TEST_CASE("sqlite: publishers of one process whose turn does not come leave the others' queues alone") {
  SqliteRig rig;
  ChildProcess process([&] {
    constexpr int publishers = 6, rounds = 25, queues = 2000;
    const auto storage = open_storage(StorageRig::config_of("sqlite://" + rig.path() + "?busy_timeout=1us"));
    std::atomic<bool> stop{false};
    std::thread competitor([&] {
      SqliteDatabase other({.path = rig.path()});
      while (!stop) {
        SqliteTransaction held(other, SqliteAccess::write_lazily);
        std::this_thread::sleep_for(2ms);
      }
    });
    std::atomic<int> busy{0}, wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < publishers; ++t)
      threads.emplace_back([&, t] {
        std::vector<Envelope> jobs;
        for (int q = 0; q < queues; ++q)
          jobs.push_back(rig.job(std::to_string(t) + "-" + std::to_string(q), "queue-" + std::to_string(q)));
        for (int done = 0; done < rounds; ++done) {
          const auto failed = error_of([&] { storage.broker->publish(jobs); });
          busy += failed.status == 75;
          wrong += failed.status != 75 && failed.status != 0;
        }
      });
    for (auto& thread : threads) thread.join();
    stop = true;
    competitor.join();
    if (wrong > 0) return 2;
    return busy > 0 ? 0 : 3;
  });
  CHECK(process.wait(60'000) == 0);
}

TEST_CASE("sqlite: a lease is counted from when its worker could take it, not from when it began to wait") {
  TempDir dir;
  AskedClock clock;
  const auto storage = open_storage(StorageRig::config_of("sqlite://" + (dir / "stem.db")), clock);
  Envelope job;
  job.id = "a";
  job.name = "test.task";
  storage.broker->publish({&job, 1});
  SqliteDatabase other({.path = dir / "stem.db"});
  auto held = std::make_unique<SqliteTransaction>(other, SqliteAccess::write);
  const int before = clock.asked;
  auto fetching =
      std::async(std::launch::async, [&] { return storage.broker->fetch(StorageRig::demand(1)); });
  REQUIRE(eventually([&] { return clock.asked > before; }));
  clock.move(20s);
  held.reset();
  REQUIRE(fetching.get().size() == 1);
  CHECK(storage.broker->find("a")->due == clock.wall() + 30s);
}

TEST_CASE("sqlite: whoever only reads notices too that the database was removed, and that nothing helps") {
  SqliteRig rig;
  rig.enqueue({"a"});
  std::filesystem::rename(rig.path(), rig.path() + ".old");
  const auto check = [&](const auto& call) {
    const auto failed = error_of(call);
    CHECK(failed.status == 70);
    CHECK(
        failed.message ==
        "database " + rig.path() +
            " was removed or replaced under this process, which cannot use it any more; restart the worker");
  };
  check([&] { rig.fetch(); });
  check([&] { rig.broker().next_due({"default"}); });
  check([&] { rig.broker().find("a"); });
  check([&] { rig.store().get("a"); });
  check([&] { rig.enqueue({"b"}); });
  rig.dir.file("stem.db", "");  // another one in its place
  check([&] { rig.fetch(); });
  std::filesystem::rename(rig.path() + ".old", rig.path());
  CHECK(ids(rig.fetch()) == Ids{"a"});
}

TEST_CASE("sqlite: a record that is written again and again leaves nothing for the sweep") {
  SqliteRig rig;
  const auto rows = [&] { return number_in(rig.path(), "SELECT count(*) FROM expiry"); };
  for (int i = 0; i < 100; ++i) {
    rig.store().put({{"a", std::to_string(i), 1h}});
    rig.clock.move(1s);
  }
  CHECK(rows() == 1);
  // Batches, whose records are overwritten in another order.
  rig.store().put({{"b", "0", 1h}, {"c", "0", 1h}, {"d", "0", 1h}});
  CHECK(rows() == 2);
  for (const auto* key : {"c", "b", "d"}) {
    rig.clock.move(1s);
    rig.store().put({{key, "1", 1h}});
  }
  CHECK(rows() == 4);
  rig.store().put({{"b", "2", {}}});
  CHECK(rig.store().compare_and_set({"c", "2", {}}, rig.store().get("c")->version));
  CHECK(rig.store().erase("d"));
  CHECK(rows() == 1);
  rig.clock.move(2h);
  CHECK(rig.store().sweep() == 1);
  CHECK(rows() == 0);
}

TEST_CASE("sqlite: what overwrites a record before the sweep comes outlives the time of the first") {
  SqliteRig rig;
  rig.store().put({{"a", "1", 1s}, {"b", "1", 1s}});
  rig.store().put({{"a", "2", 1h}});
  rig.clock.move(1s);
  CHECK(rig.store().sweep() == 1);
  CHECK(rig.store().sweep() == 0);
  CHECK(rig.store().get("a")->value == "2");
}

TEST_CASE("sqlite: text that is too large is refused for what it is, and the statement works afterwards") {
  TempDir dir;
  SqliteDatabase database({.path = dir / "any.db"});
  // Address space without memory behind it.
  constexpr std::size_t size = 1'200'000'000;
  void* const space = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(space != MAP_FAILED);
  const std::string_view huge(static_cast<const char*>(space), size);
  SqliteStatement insert(database, "INSERT INTO t VALUES(?, ?)");
  {
    SqliteTransaction writing(database, SqliteAccess::write);
    database.run("CREATE TABLE t(a INTEGER, b TEXT)");
    const auto failed = error_of([&] { insert.run(std::int64_t{1}, huge); });
    CHECK(failed.status == 65);
    CHECK(failed.message == "database " + (dir / "any.db") +
                                " cannot hold a job or record of a gigabyte or more; make it smaller");
    CHECK(insert.run(std::int64_t{2}, std::string_view("x")) == 1);
    CHECK(database.number("SELECT sum(a) FROM t WHERE b = 'x'") == 2);
  }
  munmap(space, size);
}
