#include <doctest/doctest.h>
#include <sqlite3.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <random>
#include <set>

#include "child_process.hpp"
#include "error_of.hpp"
#include "storage/sqlite_schema.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

std::atomic<int> syncs{0};

}  // namespace

/// In front of the C library's, for SQLite too: how often something was forced to the disk.
extern "C" int fdatasync(int fd) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}

namespace {

/// SQLite as any other program would use it.
class Sqlite {
 public:
  explicit Sqlite(const std::string& path) {
    if (sqlite3_open(path.c_str(), &handle_) != SQLITE_OK) throw std::runtime_error("open " + path);
    sqlite3_busy_timeout(handle_, 5000);
  }
  ~Sqlite() { sqlite3_close(handle_); }
  Sqlite(const Sqlite&) = delete;
  Sqlite& operator=(const Sqlite&) = delete;

  void run(const std::string& sql) {
    if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(handle_));
  }
  std::string value(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK)
      throw std::runtime_error(sql + ": " + sqlite3_errmsg(handle_));
    std::string text;
    if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
      text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return text;
  }

 private:
  sqlite3* handle_ = nullptr;
};

Storage open(const std::string& path, const std::string& parameters = {}) {
  return open_storage(StorageRig::config_of("sqlite://" + path + parameters));
}

std::vector<Envelope> jobs_called(const std::string& name, int from, int count) {
  std::vector<Envelope> jobs;
  for (int i = from; i < from + count; ++i) {
    Envelope job;
    job.id = name + "-" + std::to_string(i);
    job.name = "test.task";
    jobs.push_back(std::move(job));
  }
  return jobs;
}

/// As who uses it does when the database is busy: on a slow machine others may hold it for long.
template <class Call>
auto patiently(Call call) {
  for (;;) {
    try {
      return call();
    } catch (const Error& error) {
      if (error.code() != Exit::try_again) throw;
    }
  }
}

/// Works until `stop` says so: each job is settled with its record, `batch` at a time.
void work(const std::string& path, std::size_t batch, const std::function<void(const Delivery&)>& run,
          const std::function<bool()>& stop) {
  const auto storage = open(path);
  const Demand demand{
      .queues = {"default"}, .limit = batch, .lease = 1h, .consumer = std::to_string(getpid())};
  std::vector<Settlement> settlements;
  while (!stop() || !settlements.empty()) {
    const auto next =
        patiently([&] { return storage.broker->exchange(settlements, stop() ? Demand{} : demand); });
    if (!next.lost.empty()) throw std::runtime_error("a lease was lost");
    settlements.clear();
    for (const auto& delivery : next.deliveries) {
      run(delivery);
      settlements.push_back({delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, "done", {}}});
    }
  }
}

int status_of(const std::function<void()>& call) {
  return error_of(call).status;
}

}  // namespace

TEST_CASE("sqlite: an idle worker is woken by the publish of another process, and finds the job") {
  SqliteRig rig;
  auto& broker = rig.broker();
  for (int i = 0; i < 50; ++i) {
    broker.clear_wake();
    REQUIRE(rig.fetch().empty());
    REQUIRE_FALSE(readable(broker.wake_fd()));
    ChildProcess producer([&] { return rig.open().broker->publish(jobs_called("job", i, 1)) == 1 ? 0 : 1; });
    REQUIRE(readable(broker.wake_fd(), 5000));
    broker.clear_wake();
    // Woken after the commit: no second look is needed.
    REQUIRE(ids(rig.fetch()) == Ids{"job-" + std::to_string(i)});
    REQUIRE(producer.wait() == 0);
  }
}

TEST_CASE("sqlite: a wait for a result is ended by the worker in another process") {
  SqliteRig rig;
  rig.enqueue({"a"});
  ChildProcess worker([&] {
    const auto storage = rig.open();
    const auto delivery = storage.broker->fetch(StorageRig::demand(1)).at(0);
    usleep(20'000);
    const Settlement done{delivery.receipt, Ack{}, StoreWrite{"result:a", "done", {}}};
    return storage.broker->settle({&done, 1}).empty() ? 0 : 1;
  });
  const auto start = std::chrono::steady_clock::now();
  CHECK(rig.store().await("result:a", 0, 1min)->value == "done");
  CHECK(std::chrono::steady_clock::now() - start < 4s);
  CHECK(worker.wait() == 0);
}

TEST_CASE("sqlite: a bell that is deleted is hung up again, and is heard from then on") {
  SqliteRig rig;
  auto& broker = rig.broker();
  const auto bell = rig.path() + "-bell";
  (void)broker.wake_fd();
  for (int i = 0; i < 3; ++i) {
    broker.clear_wake();
    REQUIRE(std::filesystem::remove(bell));
    CHECK(readable(broker.wake_fd(), 1000));  // told, so that it looks and watches anew
    broker.clear_wake();
    CHECK(std::filesystem::exists(bell));
    while (readable(broker.wake_fd())) broker.clear_wake();
    rig.publish(jobs_called("job", i, 1));
    CHECK(readable(broker.wake_fd(), 1000));
  }
  // Nobody watches: the publisher itself hangs it up.
  const auto producer = rig.open();
  std::filesystem::remove(bell);
  producer.broker->publish(jobs_called("more", 0, 1));
  CHECK(std::filesystem::exists(bell));
}

TEST_CASE("sqlite: without a watch from the kernel a worker looks once a second") {
  if (geteuid() != 0) {
    MESSAGE("skipped: exhausting a user's inotify instances takes a user of one's own, so root");
    return;
  }
  SqliteRig rig;
  std::filesystem::permissions(rig.dir.path(), std::filesystem::perms::all);
  std::filesystem::permissions(rig.path(), std::filesystem::perms(0666));
  for (const auto* suffix : {"-wal", "-shm"})
    std::filesystem::permissions(rig.path() + suffix, std::filesystem::perms(0666));
  ChildProcess worker([&] {
    if (!become(stranger)) return 1;
    while (inotify_init1(IN_CLOEXEC) >= 0) {
    }
    const auto storage = rig.open();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 2; ++i) {
      if (!readable(storage.broker->wake_fd(), 5000)) return 2;
      storage.broker->clear_wake();
    }
    return std::chrono::steady_clock::now() - start > 1500ms ? 0 : 3;
  });
  CHECK(worker.wait() == 0);
}

TEST_CASE("sqlite: several processes publish and fetch at once: no job is lost or handed out twice") {
  SqliteRig rig;
  constexpr int producers = 3, workers = 4, each = 1500;
  const auto finished = rig.dir / "finished";
  const auto is_finished = [&] { return std::filesystem::exists(finished); };
  {
    std::vector<std::unique_ptr<ChildProcess>> working, producing;
    for (int w = 0; w < workers; ++w)
      working.push_back(std::make_unique<ChildProcess>([&, w] {
        std::ofstream log(rig.dir / ("log-" + std::to_string(w)));
        work(
            rig.path(), 1 + static_cast<std::size_t>(w) * 13,
            [&](const Delivery& delivery) { log << delivery.id << '\n'; }, is_finished);
        return 0;
      }));
    for (int p = 0; p < producers; ++p)
      producing.push_back(std::make_unique<ChildProcess>([&, p] {
        const auto storage = rig.open();
        for (int i = 0; i < each; i += 25)
          if (patiently(
                  [&] { return storage.broker->publish(jobs_called("p" + std::to_string(p), i, 25)); }) != 25)
            return 1;
        return 0;
      }));
    for (auto& producer : producing) REQUIRE(producer->wait(60'000) == 0);
    REQUIRE(eventually([&] { return rig.broker().depths().empty(); }, 60'000));
    rig.dir.file("finished", "");
    for (auto& worker : working) REQUIRE(worker->wait(20'000) == 0);
  }
  std::multiset<std::string> seen;
  for (int w = 0; w < workers; ++w) {
    std::ifstream log(rig.dir / ("log-" + std::to_string(w)));
    for (std::string id; std::getline(log, id);) seen.insert(id);
  }
  CHECK(seen.size() == producers * each);
  CHECK(std::set<std::string>(seen.begin(), seen.end()).size() == producers * each);
  CHECK(rig.store().list("result:", 100'000).size() == producers * each);
  CHECK(Sqlite(rig.path()).value("SELECT count(*) FROM lease") == "0");
}

TEST_CASE(
    "sqlite: killed at any moment, what was published stays, and a result is there exactly when its job is "
    "gone") {
  SqliteRig rig;
  std::mt19937 random(7);
  constexpr int rounds = 40;
  int published = 0;
  std::set<std::string> acknowledged;
  for (int round = 0; round < rounds; ++round) {
    int told[2];
    REQUIRE(pipe(told) == 0);
    {
      ChildProcess victim([&] {
        const auto storage = rig.open();
        std::vector<Settlement> settlements;
        for (int number = round * 1'000'000;; number += 3) {
          storage.broker->publish(jobs_called("job", number, 3));
          if (write(told[1], &number, sizeof number) != sizeof number) return 1;
          const auto next = storage.broker->exchange(settlements, StorageRig::demand(2));
          settlements.clear();
          for (const auto& delivery : next.deliveries)
            settlements.push_back({delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, "done", 1h}});
        }
      });
      close(told[1]);
      int number = 0;
      REQUIRE(read(told[0], &number, sizeof number) == sizeof number);
      usleep(static_cast<useconds_t>(std::uniform_int_distribution<int>(0, 8000)(random)));
      victim.signal(SIGKILL);
      CHECK(victim.wait() == 128 + SIGKILL);
      do {
        for (int i = 0; i < 3; ++i) acknowledged.insert("job-" + std::to_string(number + i));
        ++published;
      } while (read(told[0], &number, sizeof number) == sizeof number);
    }
    close(told[0]);
  }
  CHECK(published >= rounds);
  Sqlite file(rig.path());
  CHECK(file.value("PRAGMA integrity_check") == "ok");
  for (const auto& id : acknowledged) {
    CAPTURE(id);
    CHECK(rig.broker().find(id).has_value() != rig.store().get("result:" + id).has_value());
  }
  // Whoever was killed held leases: all of them are taken over once they have ended.
  rig.clock.move(1h);
  const auto left = std::stoul(file.value("SELECT count(*) FROM job"));
  std::size_t taken = 0;
  for (auto batch = rig.fetch(); !batch.empty(); batch = rig.fetch()) taken += batch.size();
  CHECK(taken == left);
}

TEST_CASE(
    "sqlite: publishing and settling reach the disk; leasing and renewing, which may be repeated, do not "
    "wait for it") {
  SqliteRig rig;
  const auto synced = [](const auto& call) {
    const int before = syncs;
    call();
    return syncs - before;
  };
  CHECK(synced([&] { rig.enqueue({"a", "b"}); }) > 0);
  std::vector<Delivery> leased;
  CHECK(synced([&] { leased = rig.fetch(); }) == 0);
  CHECK(synced([&] { rig.broker().renew({{leased[0].receipt}}, 30s); }) == 0);
  CHECK(synced([&] { rig.settle(leased[0], Ack{}); }) == 1);
  CHECK(synced([&] { rig.settle(leased[1], Release{rig.clock.wall()}); }) == 1);
  CHECK(synced([&] { leased = rig.fetch(); }) == 0);
  CHECK(synced([&] { rig.store().put({{"a", "1", 1s}}); }) == 1);
  rig.clock.move(1s);
  CHECK(synced([&] { rig.store().sweep(); }) == 0);
  CHECK(synced([&] { rig.store().erase("a"); }) <= 1);
}

TEST_CASE("sqlite: with synchronous=normal nothing waits for the disk") {
  TempDir dir;
  const auto storage = open(dir / "stem.db", "?synchronous=normal");
  const int before = syncs;
  storage.broker->publish(jobs_called("job", 0, 3));
  const auto delivery = storage.broker->fetch(StorageRig::demand(1)).at(0);
  const Settlement done{delivery.receipt, Ack{}, std::nullopt};
  storage.broker->settle({&done, 1});
  CHECK(syncs == before);
  CHECK(storage.broker->depths().at(0).ready == 2);
}

TEST_CASE("sqlite: looking for jobs where there are none takes no right to write") {
  SqliteRig rig;
  rig.enqueue({"a"});
  rig.fetch();
  Sqlite other(rig.path());
  other.run("BEGIN IMMEDIATE");
  CHECK(rig.fetch().empty());
  CHECK(rig.broker().next_due({"default"}));
  CHECK(rig.broker().find("a"));
  CHECK(rig.store().sweep() == 0);
}

TEST_CASE("sqlite: a database that another process holds for too long is busy: 75, and fine afterwards") {
  TempDir dir;
  const auto storage = open(dir / "stem.db", "?busy_timeout=50ms");
  Sqlite other(dir / "stem.db");
  other.run("BEGIN IMMEDIATE");
  const auto failed = error_of([&] { storage.broker->publish(jobs_called("job", 0, 1)); });
  CHECK(failed.status == 75);
  CHECK(failed.message == "database " + (dir / "stem.db") +
                              " is busy: another process has held it for longer than 50ms; try again");
  CHECK(status_of([&] { storage.results->put({{"a", "1", {}}}); }) == 75);
  other.run("COMMIT");
  CHECK(storage.broker->publish(jobs_called("job", 0, 1)) == 1);
}

TEST_CASE("sqlite: a wait for the right to write ends when the other has done") {
  SqliteRig rig;
  Sqlite other(rig.path());
  other.run("BEGIN IMMEDIATE");
  auto publishing = std::async(std::launch::async, [&] { return rig.enqueue({"a"}); });
  CHECK(publishing.wait_for(50ms) == std::future_status::timeout);
  other.run("COMMIT");
  CHECK(publishing.get() == 1);
}

TEST_CASE("sqlite: eight processes that open a new file at once all get it") {
  for (int round = 0; round < 5; ++round) {
    TempDir dir;
    std::vector<std::unique_ptr<ChildProcess>> all;
    int start[2];
    REQUIRE(pipe(start) == 0);
    for (int i = 0; i < 8; ++i)
      all.push_back(std::make_unique<ChildProcess>([&, i] {
        char go;
        close(start[1]);
        if (read(start[0], &go, 1) != 0) return 1;
        return open(dir / "stem.db").broker->publish(jobs_called("p" + std::to_string(i), 0, 1)) == 1 ? 0 : 2;
      }));
    close(start[0]);
    close(start[1]);
    for (auto& one : all) CHECK(one->wait() == 0);
    CHECK(open(dir / "stem.db").broker->depths().at(0).ready == 8);
  }
}

TEST_CASE(
    "sqlite: an older schema is brought up to date, once, by however many processes, with all that is in "
    "it") {
  SqliteRig rig;
  rig.enqueue({"a"});
  const auto known = sqlite_migrations();
  const int next = known.back().version + 1;
  std::vector<SqliteMigration> steps(known.begin(), known.end());
  steps.push_back({next, "CREATE TABLE extra(x); INSERT INTO extra VALUES(1)"});
  steps.push_back({next + 1, "INSERT INTO extra VALUES(2)"});
  std::vector<std::unique_ptr<ChildProcess>> all;
  for (int i = 0; i < 4; ++i)
    all.push_back(std::make_unique<ChildProcess>([&] {
      SqliteDatabase database({.path = rig.path()});
      bring_up_to_date(database, steps);
      return 0;
    }));
  for (auto& one : all) CHECK(one->wait() == 0);
  Sqlite file(rig.path());
  CHECK(file.value("PRAGMA user_version") == std::to_string(next + 1));
  CHECK(file.value("SELECT count(*) FROM extra") == "2");
  CHECK(file.value("SELECT id FROM job") == "a");
}

TEST_CASE("sqlite: a database of the first version learns of broadcasts and keeps its jobs") {
  TempDir dir;
  {
    SqliteDatabase database({.path = dir / "stem.db"});
    bring_up_to_date(database, sqlite_migrations().first(1));
  }
  const auto storage = open(dir / "stem.db");
  CHECK(storage.broker->publish(jobs_called("job", 0, 1)) == 1);
  std::vector<Listening> ears{{"news"}};
  CHECK(storage.broker->listen(ears, 10).empty());
  Envelope message;
  message.id = message.name = "hello";
  storage.broker->broadcast("news", message, 10s);
  CHECK(storage.broker->listen(ears, 10).size() == 1);
}

TEST_CASE("sqlite: a migration that fails changes nothing") {
  SqliteRig rig;
  const auto known = sqlite_migrations();
  const int version = known.back().version;
  std::vector<SqliteMigration> steps(known.begin(), known.end());
  steps.push_back({version + 1, "CREATE TABLE extra(x)"});
  steps.push_back({version + 2, "NONSENSE"});
  SqliteDatabase database({.path = rig.path()});
  CHECK(status_of([&] { bring_up_to_date(database, steps); }) == 70);
  Sqlite file(rig.path());
  CHECK(file.value("PRAGMA user_version") == std::to_string(version));
  CHECK(file.value("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'") == "0");
  CHECK(rig.enqueue({"a"}) == 1);
}

TEST_CASE("sqlite: a newer schema is refused with both versions") {
  SqliteRig rig;
  Sqlite(rig.path()).run("PRAGMA user_version = 99");
  const auto failed = error_of([&] { rig.open(); });
  CHECK(failed.status == 78);
  CHECK(failed.message == "database " + rig.path() +
                              " has schema version 99, this program knows up to 2; upgrade this program");
}

TEST_CASE("sqlite: another program's database is refused and left as it is") {
  TempDir dir;
  Sqlite(dir / "theirs.db").run("CREATE TABLE bookmarks(x); PRAGMA user_version = 1");
  const auto failed = error_of([&] { open(dir / "theirs.db"); });
  CHECK(failed.status == 78);
  CHECK(failed.says("belongs to another program"));
  CHECK(Sqlite(dir / "theirs.db").value("SELECT group_concat(name) FROM sqlite_schema") == "bookmarks");
  CHECK(Sqlite(dir / "theirs.db").value("PRAGMA journal_mode") == "delete");
}

TEST_CASE("sqlite: an empty file becomes a database, as SQLite itself has it") {
  TempDir dir;
  dir.file("stem.db", "");
  CHECK(open(dir / "stem.db").broker->publish(jobs_called("job", 0, 1)) == 1);
}

TEST_CASE("sqlite: what is no database is refused: text, a directory") {
  TempDir dir;
  const auto text = error_of(
      [&] { open(dir.file("text.db", "These are not the jobs you are looking for, I am afraid.\n")); });
  CHECK(text.status == 78);
  CHECK(text.says("it is not a SQLite database"));
  CHECK(text.is_one_line());
  const auto directory = error_of([&] { open(dir.path()); });
  CHECK(directory.status == 78);
  CHECK(directory.message ==
        "cannot open database " + dir.path() + ": it is a directory; name a file inside it");
}

TEST_CASE("sqlite: a damaged database is refused or reported with the way to save what is left") {
  TempDir dir;
  {
    const auto storage = open(dir / "good.db");
    storage.broker->publish(jobs_called("job", 0, 2000));
  }
  const auto good = content_of(dir / "good.db");
  REQUIRE(good.size() > 100 * 4096);
  const auto use = [&](const std::string& content) {
    const auto path = dir.file("bad.db", content);
    const auto failed = error_of([&] {
      const auto storage = open(path);
      while (!storage.broker->fetch(StorageRig::demand()).empty()) {
      }
      storage.broker->depths();
    });
    for (const auto* suffix : {"-wal", "-shm"}) std::filesystem::remove(path + suffix);
    return failed;
  };
  CHECK(use(good).status == 0);

  const auto truncated = use(good.substr(0, good.size() / 2));
  CHECK(truncated.status == 78);
  CHECK(truncated.says(".recover"));
  CHECK(truncated.is_one_line());
  CHECK(use(good.substr(0, 300)).status == 78);

  // Every page in turn: an error that says so, or, where nothing was read from it, none; never another one.
  int refused = 0;
  for (std::size_t page = 0; page < good.size() / 4096; page += 7) {
    auto zeroed = good;
    std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(page * 4096), 4096, '\0');
    const auto failed = use(zeroed);
    CAPTURE(page);
    CAPTURE(failed.message);
    CHECK((failed.status == 78 || failed.status == 0));
    refused += failed.status == 78;
  }
  CHECK(refused > 10);
}

TEST_CASE("sqlite: a directory that is missing is named, not made") {
  TempDir dir;
  const auto failed = error_of([&] { open(dir / "no/such/stem.db"); });
  CHECK(failed.status == 73);
  CHECK(failed.message == "cannot create database " + (dir / "no/such/stem.db") + ": there is no directory " +
                              (dir / "no/such") + "; create it first");
  CHECK_FALSE(std::filesystem::exists(dir / "no"));
  CHECK(status_of([&] { open(dir.file("file", "") + "/stem.db"); }) == 73);
}

TEST_CASE("sqlite: a symbolic link leads to the one database, and the one bell") {
  SqliteRig rig;
  std::filesystem::create_symlink(rig.path(), rig.dir / "link.db");
  (void)rig.broker().wake_fd();
  rig.broker().clear_wake();
  open(rig.dir / "link.db").broker->publish(jobs_called("job", 0, 1));
  CHECK(readable(rig.broker().wake_fd(), 1000));
  CHECK(rig.fetch().size() == 1);
  CHECK_FALSE(std::filesystem::exists(rig.dir / "link.db-bell"));
}

TEST_CASE(
    "sqlite: a database that is removed or replaced while it is used is noticed before jobs go astray") {
  SqliteRig rig;
  rig.enqueue({"a"});
  std::filesystem::rename(rig.path(), rig.path() + ".old");
  const auto failed = error_of([&] { rig.enqueue({"b"}); });
  CHECK(failed.status == 70);
  CHECK(failed.says("was removed or replaced under this process"));
  std::filesystem::rename(rig.path() + ".old", rig.path());
  CHECK(rig.enqueue({"b"}) == 1);
  CHECK(rig.fetch().size() == 2);
}

TEST_CASE("sqlite: who may not use the database is told so: 77") {
  if (geteuid() != 0) {
    MESSAGE("skipped: needs a second user, so root");
    return;
  }
  SqliteRig rig;
  rig.enqueue({"a"});
  const auto as_stranger = [&](const std::string& path) {
    ChildProcess child([&] {
      if (!become(stranger)) return 1;
      const auto failed = error_of([&] { open(path).broker->publish(jobs_called("x", 0, 1)); });
      return failed.status == 0 || (failed.is_one_line() && failed.says(path)) ? failed.status : 2;
    });
    return child.wait();
  };
  using std::filesystem::perms;
  const auto set = [](const std::string& path, int mode) { std::filesystem::permissions(path, perms(mode)); };
  CHECK(as_stranger(rig.path()) == 77);  // the directory is closed
  set(rig.dir.path(), 0755);
  CHECK(as_stranger(rig.dir / "new.db") == 77);  // the directory is not writable
  set(rig.path(), 0600);
  CHECK(as_stranger(rig.path()) == 77);
  set(rig.path(), 0644);
  CHECK(as_stranger(rig.path()) == 77);  // only readable
  set(rig.path(), 0666);
  set(rig.path() + "-wal", 0600);
  CHECK(as_stranger(rig.path()) == 77);
  CHECK(rig.fetch().size() == 1);  // connects: the last to leave takes the log along
  rig.storage = {};
  CHECK(as_stranger(rig.path()) == 77);  // the log cannot be created
  set(rig.dir.path(), 0777);
  CHECK(as_stranger(rig.path()) == 0);
}

TEST_CASE("sqlite: in a directory that a group shares, the group shares the database, whatever the umask") {
  SqliteDir there;
  REQUIRE(chmod(there.dir.path().c_str(), 02770) == 0);
  const auto path = there.dir / "stem.db";
  ChildProcess first([&] {
    umask(022);
    const auto storage = open(path);
    storage.broker->publish(jobs_called("job", 0, 1));
    (void)storage.broker->wake_fd();
    for (const auto* suffix : {"", "-wal", "-shm", "-bell"}) {
      struct stat file {};
      if (stat((path + suffix).c_str(), &file) != 0 || (file.st_mode & 0777) != 0660) return 1;
    }
    return 0;
  });
  CHECK(first.wait() == 0);
}

TEST_CASE(
    "sqlite: a file that root creates in a service's directory is the service's, with all that belongs to "
    "it") {
  if (geteuid() != 0) {
    MESSAGE("skipped: not root");
    return;
  }
  SqliteDir there;
  REQUIRE(chown(there.dir.path().c_str(), stranger, stranger) == 0);
  const auto path = there.dir / "stem.db";
  const auto storage = open(path);
  storage.broker->publish(jobs_called("job", 0, 1));
  (void)storage.broker->wake_fd();
  for (const auto* suffix : {"", "-wal", "-shm", "-bell"}) {
    struct stat file {};
    CAPTURE(suffix);
    REQUIRE(stat((path + suffix).c_str(), &file) == 0);
    CHECK(file.st_uid == stranger);
    CHECK((file.st_mode & 0007) == 0);  // jobs may hold secrets
  }
  ChildProcess service([&] {
    if (!become(stranger)) return 1;
    return open(path).broker->publish(jobs_called("more", 0, 1)) == 1 ? 0 : 2;
  });
  CHECK(service.wait() == 0);
}

TEST_CASE("sqlite: a full disk: 73, nothing is lost, and all goes on when there is space again") {
  TempDir dir;
  if (mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=3m") != 0) {
    MESSAGE("skipped: a file system of its own takes root");
    return;
  }
  {
    const auto storage = open(dir / "stem.db");
    (void)storage.broker->wake_fd();
    storage.broker->publish(jobs_called("early", 0, 100));
    const auto leased = storage.broker->fetch(StorageRig::demand(10));
    std::vector<Settlement> settlements;
    for (const auto& delivery : leased)
      settlements.push_back(
          {delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, std::string(2000, 'r'), {}}});
    {
      std::ofstream filler(dir / "filler", std::ios::binary);
      const std::string block(4096, 'x');
      while (filler.write(block.data(), 4096).flush()) {
      }
    }
    int published = 0;
    Failed failed;
    for (int i = 0; failed.status == 0 && i < 1000; ++i) {
      failed = error_of([&] { storage.broker->publish(jobs_called("late", i * 100, 100)); });
      published += failed.status == 0 ? 100 : 0;
    }
    CHECK(failed.status == 73);
    CHECK(failed.message == "cannot write database " + (dir / "stem.db") +
                                ": No space left on device; free some space and try again");
    // The log may have kept room for a little more.
    Failed unsettled;
    for (int i = 0; unsettled.status == 0 && i < 1000; ++i)
      unsettled = error_of([&] {
        storage.results->put({{"filler-" + std::to_string(i), std::string(4000, 'f'), {}}});
      });
    CHECK(unsettled.status == 73);
    CHECK(status_of([&] { storage.broker->settle(settlements); }) == 73);
    CHECK(storage.broker->find(leased[0].id)->state == JobView::State::leased);
    CHECK_FALSE(storage.results->get("result:" + leased[0].id));
    CHECK(error_of([&] { open(dir / "another.db"); }).status == 73);
    (void)storage.broker->depths();

    std::filesystem::remove(dir / "filler");
    CHECK(storage.broker->settle(settlements).empty());
    CHECK(storage.results->get("result:" + leased[0].id));
    CHECK(storage.broker->publish(jobs_called("last", 0, 1)) == 1);
    const auto depth = storage.broker->depths().at(0);
    CHECK(depth.ready == 90 + published + 1);
  }
  CHECK(Sqlite(dir / "stem.db").value("PRAGMA integrity_check") == "ok");
  CHECK(umount2(dir.path().c_str(), MNT_DETACH) == 0);
}

TEST_CASE("sqlite: a thousand leases of one job each are as good as one of a thousand") {
  SqliteRig rig;
  rig.publish(jobs_called("job", 0, 400));
  std::vector<Delivery> leased;
  for (int i = 0; i < 300; ++i) leased.push_back(rig.fetch_one());
  CHECK(Sqlite(rig.path()).value("SELECT count(*) FROM lease") == "300");
  CHECK(ids(rig.fetch(1)) == Ids{"job-300"});
  std::vector<Settlement> settlements;
  for (const auto& delivery : leased) settlements.push_back({delivery.receipt, Ack{}, std::nullopt});
  CHECK(rig.broker().settle(settlements).empty());
  CHECK(Sqlite(rig.path()).value("SELECT count(*) FROM lease") == "1");
}

TEST_CASE("sqlite: a job gets no key inside a lease, even when the jobs at its end are gone") {
  SqliteRig rig;
  rig.enqueue({"a", "b", "c"});
  const auto leased = rig.fetch();
  rig.settle(leased[1], Ack{});
  rig.settle(leased[2], Ack{});
  rig.enqueue({"d", "e"});
  CHECK(ids(rig.fetch()) == Ids{"d", "e"});
  CHECK(rig.settle(leased[0], Ack{}));
}

TEST_CASE("sqlite: no transaction leaves an empty lease behind") {
  SqliteRig rig;
  Sqlite file(rig.path());
  std::mt19937 random(3);
  std::vector<Delivery> held;
  for (int step = 0; step < 400; ++step) {
    if (step % 3 == 0) rig.publish(jobs_called("job", step * 10, 7));
    for (auto& delivery : rig.fetch(random() % 9)) held.push_back(delivery);
    std::shuffle(held.begin(), held.end(), random);
    for (auto some = random() % 5; some > 0 && !held.empty(); --some, held.pop_back()) {
      const auto kind = random() % 4;
      if (kind == 0)
        rig.settle(held.back(), Release{rig.clock.wall()});
      else if (kind == 1)
        rig.settle(held.back(), RetryAt{rig.clock.wall() + 3s});
      else
        rig.settle(held.back(), Ack{});
    }
    if (!held.empty() && random() % 4 == 0) {
      std::vector<Receipt> some;
      for (std::size_t i = 0; i < held.size(); i += 2) some.push_back(held[i].receipt);
      rig.broker().renew(some, 40s);
    }
    if (random() % 8 == 0) rig.clock.move(10s);
    CHECK(file.value("SELECT count(*) FROM lease WHERE NOT EXISTS(SELECT 1 FROM job WHERE key BETWEEN first "
                     "AND last)") == "0");
    CHECK(file.value(
              "SELECT count(*) FROM lease a JOIN lease b ON a.first < b.first AND b.first <= a.last") == "0");
  }
}
