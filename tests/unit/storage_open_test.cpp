#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child_process.hpp"
#include "error_of.hpp"
#include "storage/url.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

Failed opening(const std::string& broker, const std::string& results = {}) {
  return error_of([&] {
    auto config = StorageRig::config_of(broker);
    config.result_backend_url = results;
    open_storage(config);
  });
}

}  // namespace

TEST_CASE("url: scheme, location and parameters are told apart and decoded") {
  const auto url = Url::parse("SQLite:///a%20b/c%3Fd.db?busy_timeout=1s&x=%26%3D");
  CHECK(url.scheme == "sqlite");
  CHECK(url.location == "/a b/c?d.db");
  CHECK(url.parameters == std::map<std::string, std::string>{{"busy_timeout", "1s"}, {"x", "&="}});
  CHECK(Url::parse("memory://name").parameters.empty());
}

TEST_CASE("url: what cannot be read is refused, without repeating what may be a password") {
  for (const auto* bad : {"", "/var/lib/stem.db", "://x", "sqlite:/a", "x://a%2", "x://a%zz", "x://a%00",
                          "x://a?b", "x://a?=b", "x://a?b=1&b=2", "x://a?%"}) {
    CAPTURE(bad);
    const auto failed = error_of([&] { Url::parse(bad); });
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
  }
  CHECK_FALSE(error_of([] { Url::parse("redis://u:secret%2@h"); }).says("secret"));
}

TEST_CASE("open: no message repeats what may be a password") {
  for (const auto* bad :
       {"sqlite:///x?key=hunter2", "sqlite:///x?synchronous=hunter2", "sqlite:///x?busy_timeout=hunter2",
        "sqlite://user:hunter2@host/db", "sqlite://hunter2", "memory://u:hunter2@x?a=1",
        "memory://?hunter2=1", "user:hunter2@db://x", "hunter2 x://y", "2hunter2://y",
        "postgres://u:hunter2@host/db?a=1", "sqlite:///x?a=hunter2&a=hunter2"}) {
    CAPTURE(bad);
    const auto failed = opening(bad);
    CAPTURE(failed.message);
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
    CHECK_FALSE(failed.says("hunter2"));
  }
}

TEST_CASE("open: an unknown scheme is refused with those that exist") {
  const auto failed = opening("rabbit://u:secret@h");
  CHECK(failed.status == 78);
  CHECK(failed.message ==
        "no broker or result backend is called 'rabbit://'; there are sqlite://, redis://, rediss://, "
        "redis+socket://, postgresql:// and memory://");
}

TEST_CASE("open: parameters and paths that mean nothing are refused") {
  TempDir dir;
  const auto url = "sqlite://" + (dir / "stem.db");
  CHECK(opening(url + "?sync=full").message ==
        url + ": unknown parameter 'sync'; there are busy_timeout and synchronous");
  CHECK(opening(url + "?synchronous=off").status == 78);
  CHECK(opening(url + "?synchronous=off").message == url + ": synchronous is full or normal");
  for (const auto* wait : {"5", "10001ms", "1h"}) {
    CAPTURE(wait);
    CHECK(opening(url + "?busy_timeout=" + wait).status == 78);
    CHECK(opening(url + "?busy_timeout=" + wait).message ==
          url + ": busy_timeout is a duration of at most 10s, such as 250ms");
  }
  CHECK(opening(url + "?busy_timeout=10s").status == 0);
  CHECK(opening("sqlite://stem.db").status == 78);
  CHECK(opening("sqlite://stem.db").says("sqlite:///var/lib/stem/stem.db"));
  CHECK(opening("memory://").status == 78);
  CHECK(opening("memory://x?y=1").status == 78);
  CHECK(opening(url + "?synchronous=normal&busy_timeout=250ms").status == 0);
}

TEST_CASE(
    "open: one address for both is one connection; two are two, and the broker keeps no records of the "
    "other") {
  TempDir dir;
  const auto one = "sqlite://" + (dir / "one.db");
  auto config = StorageRig::config_of(one);
  auto storage = open_storage(config);
  CHECK(storage.broker->keeps_records_of(*storage.results));
  config.result_backend_url = one;
  storage = open_storage(config);
  CHECK(storage.broker->keeps_records_of(*storage.results));
  config.result_backend_url = "sqlite://" + (dir / "two.db");
  storage = open_storage(config);
  CHECK_FALSE(storage.broker->keeps_records_of(*storage.results));
  storage.results->put({{"a", "1", {}}});
  config.broker_url = "memory://mixed";
  storage = open_storage(config);
  CHECK_FALSE(storage.broker->keeps_records_of(*storage.results));
  CHECK(storage.results->get("a"));
}

TEST_CASE(
    "open: the default place is the service's for root and services, a person's state directory otherwise") {
  const std::string service = "sqlite:///var/lib/stem/stem.db";
  CHECK(default_url({{"STATE_DIRECTORY", "/var/lib/stem"}, {"HOME", "/home/ann"}}) == service);
  CHECK(default_url({{"STATE_DIRECTORY", "/var/lib/else:/var/lib/more"}}) ==
        "sqlite:///var/lib/else/stem.db");
  CHECK(default_url({{"HOME", "/var/lib/stem"}}) == service);
  if (geteuid() == 0) {
    CHECK(default_url({{"HOME", "/root"}}) == service);
    CHECK(default_url({{"STATE_DIRECTORY", "/root/.config/stem"}, {"HOME", "/root"}}) == service);
  }
  const auto as_a_person = [](const Environment& environment) {
    if (geteuid() == 0 && seteuid(stranger) != 0) return std::string("seteuid");
    std::string url;
    try {
      url = default_url(environment);
    } catch (const Error& error) {
      url = std::to_string(static_cast<int>(error.code()));
    }
    if (getuid() == 0) (void)!seteuid(0);
    return url;
  };
  CHECK(as_a_person({{"HOME", "/home/ann"}}) == "sqlite:///home/ann/.local/state/stem/stem.db");
  CHECK(as_a_person({{"HOME", "/home/100%?"}}) == "sqlite:///home/100%25%3F/.local/state/stem/stem.db");
  CHECK(as_a_person({{"HOME", "/home/ann"}, {"XDG_STATE_HOME", "/state"}}) == "sqlite:///state/stem/stem.db");
  CHECK(as_a_person({{"HOME", "/home/ann"}, {"XDG_STATE_HOME", "relative"}}) ==
        "sqlite:///home/ann/.local/state/stem/stem.db");
  CHECK(as_a_person({}) == "78");
}

TEST_CASE(
    "open: a person's default database comes with the directories that lead to it, for nobody else to read") {
  TempDir dir;
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  ChildProcess person([&] {
    if (geteuid() == 0 && !become(stranger)) return 1;
    const auto home = dir / "home/ann";
    if (std::filesystem::create_directories(home); ::setenv("HOME", home.c_str(), 1) != 0) return 2;
    ::unsetenv("XDG_STATE_HOME");
    ::unsetenv("STATE_DIRECTORY");
    open_storage(Config{});
    if (!std::filesystem::exists(home + "/.local/state/stem/stem.db")) return 3;
    const auto mode = std::filesystem::status(home + "/.local/state/stem").permissions();
    return mode == std::filesystem::perms::owner_all ? 0 : 4;
  });
  CHECK(person.wait() == 0);
}

TEST_CASE("open: root's first command makes the service's directory the service's") {
  if (geteuid() != 0) {
    MESSAGE("skipped: not root");
    return;
  }
  TempDir dir;
  const auto accounts =
      dir.file("passwd", "root:x:0:0::/root:/bin/sh\nstem:x:54321:54321::/var/lib/stem:/bin/sh\n");
  enum { done, no_mounts, not_its, wrong_mode, cannot_open };
  ChildProcess root([&]() -> int {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=755") != 0 ||
        mount(accounts.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) != 0)
      return no_mounts;
    for (const auto* name : {"STATE_DIRECTORY", "XDG_STATE_HOME"}) ::unsetenv(name);
    umask(022);
    open_storage(Config{});
    struct stat made {};
    if (stat("/var/lib/stem", &made) != 0 || made.st_uid != stranger || made.st_gid != stranger)
      return not_its;
    if ((made.st_mode & 07777) != 02770) return wrong_mode;
    if (!become(stranger)) return cannot_open;
    ::setenv("HOME", "/var/lib/stem", 1);
    Envelope job;
    job.id = "a";
    job.name = "test.task";
    return open_storage(Config{}).broker->publish({&job, 1}) == 1 ? done : cannot_open;
  });
  const int status = root.wait();
  if (status == no_mounts)
    MESSAGE("skipped: mounting is not allowed here");
  else
    CHECK(status == done);
}

TEST_CASE("open: a default place that cannot be made is told with the variable that names another") {
  TempDir dir;
  dir.file("file", "");
  std::filesystem::permissions(dir.path(),
                               std::filesystem::perms::others_exec | std::filesystem::perms::owner_all);
  const auto opening_at = [&](const std::string& state) {
    ChildProcess person([&] {
      if (geteuid() == 0 && !become(stranger)) return 1;
      ::unsetenv("STATE_DIRECTORY");
      ::setenv("HOME", "/nowhere", 1);
      ::setenv("XDG_STATE_HOME", state.c_str(), 1);
      const auto failed = error_of([] { open_storage(Config{}); });
      return failed.says("STEM_BROKER_URL") && failed.is_one_line() ? failed.status : 2;
    });
    return person.wait();
  };
  CHECK(opening_at(dir / "file") == 73);
  if (geteuid() == 0) CHECK(opening_at(dir / "forbidden") == 77);
}

TEST_CASE("memory: one name is one storage in the whole process, another name another") {
  MemoryRig rig;
  rig.enqueue({"a"});
  CHECK(rig.open().broker->find("a"));
  CHECK_FALSE(MemoryRig().broker().find("a"));
  rig.storage = {};
  CHECK(rig.open().broker->find("a"));
}
