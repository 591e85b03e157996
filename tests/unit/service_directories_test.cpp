#include <doctest/doctest.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <functional>
#include <stem/error.hpp>

#include "refusal.hpp"
#include "service/directories.hpp"
#include "temp_dir.hpp"

using stem::Error;
using stem::Exit;
using stem::make_directories;
using stem::Owner;

namespace {

struct stat status_of(const std::string& path) {
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  return status;
}

int mode_of(const std::string& path) {
  return status_of(path).st_mode & 07777;
}

Owner nobody() {
  const auto* account = getpwnam("nobody");
  REQUIRE(account);
  return {account->pw_uid, account->pw_gid};
}

/// Runs `call` in a child process as another user; its return value is the result.
int as_user(const Owner& user, const std::function<int()>& call) {
  const auto child = fork();
  if (child == 0) {
    if (setgid(user.group) != 0 || setuid(user.user) != 0) _exit(99);
    _exit(call());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct Umask {
  explicit Umask(mode_t mask) : old(umask(mask)) {}
  ~Umask() { umask(old); }
  mode_t old;
};

}  // namespace

TEST_CASE("directories: all missing parts are made with their mode, whatever the umask") {
  for (const mode_t mask : {0, 022, 077, 0777}) {
    const TempDir dir;
    const Umask umask(mask);
    make_directories(dir / "a/b//./c", Owner::self());
    CHECK(mode_of(dir / "a") == 0755);
    CHECK(mode_of(dir / "a/b/c") == 0755);
    make_directories(dir / "p/q", Owner::self(), true);
    CHECK(mode_of(dir / "p/q") == 0750);
    make_directories(dir / "a/b/c", Owner::self(), true);
    CHECK(mode_of(dir / "a/b/c") == 0755);  // what exists stays
    stem::make_parent_directories(dir / "logs/x.log", Owner::self());
    CHECK(mode_of(dir / "logs") == 0755);
  }
}

TEST_CASE("directories: files, loops and bad paths in the way are named") {
  const TempDir dir;
  dir.file("file", "");
  auto [code, message] = refusal([&] { make_directories(dir / "file/x", Owner::self()); });
  CHECK(code == Exit::cannot_create);
  CHECK(contains(message, dir / "file/x: " + (dir / "file: Not a directory")));
  REQUIRE(symlink("loop", (dir / "loop").c_str()) == 0);
  CHECK(refusal([&] { make_directories(dir / "loop/x", Owner::self()); }).first == Exit::cannot_create);
  CHECK(refusal([&] { make_directories("", Owner::self()); }).first == Exit::config);
  CHECK(refusal([&] { make_directories("/proc/stem/x", Owner::self()); }).first == Exit::cannot_create);
}

TEST_CASE("directories: root makes them for another user, who can then write there") {
  if (geteuid() != 0) {
    MESSAGE("needs root");
    return;
  }
  const TempDir dir;
  chmod(dir.path().c_str(), 0755);
  make_directories(dir / "run/stem", nobody());
  CHECK(status_of(dir / "run").st_uid == nobody().user);
  CHECK(status_of(dir / "run/stem").st_gid == nobody().group);
  CHECK(as_user(nobody(), [&] { return access((dir / "run/stem").c_str(), W_OK) == 0 ? 0 : 1; }) == 0);

  // One that exists and that the user cannot use.
  REQUIRE(mkdir((dir / "roots").c_str(), 0755) == 0);
  const auto [code, message] = refusal([&] { make_directories(dir / "roots", nobody()); });
  CHECK(code == Exit::no_permission);
  CHECK(contains(message, "install -d -o nobody"));
  make_directories(dir / "roots", Owner::self());
}

TEST_CASE("directories: an unprivileged user is told what root would have to do") {
  if (geteuid() != 0) {
    MESSAGE("needs root");
    return;
  }
  const TempDir dir;
  chmod(dir.path().c_str(), 0755);
  CHECK(as_user(nobody(), [&] {
          const auto [code, message] = refusal([&] { make_directories(dir / "run/stem", Owner::self()); });
          return code == Exit::no_permission && contains(message, "as root: install -d -o nobody") &&
                         contains(message, dir / "run")
                     ? 0
                     : 1;
        }) == 0);
  // A directory of a third user is not ours to use, even if it can be written.
  REQUIRE(mkdir((dir / "third").c_str(), 0755) == 0);
  REQUIRE(chown((dir / "third").c_str(), 4242, 4242) == 0);
  chmod((dir / "third").c_str(), 0777);
  CHECK(as_user(nobody(), [&] {
          return refusal([&] { make_directories(dir / "third", Owner::self()); }).first == Exit::no_permission
                     ? 0
                     : 1;
        }) == 0);
}

TEST_CASE("directories: a symbolic link is followed only where root placed it, or to a place of the user") {
  if (geteuid() != 0) {
    MESSAGE("needs root");
    return;
  }
  const TempDir dir;
  chmod(dir.path().c_str(), 0755);
  REQUIRE(mkdir((dir / "real").c_str(), 0755) == 0);
  REQUIRE(mkdir((dir / "theirs").c_str(), 0755) == 0);
  REQUIRE(chown((dir / "theirs").c_str(), nobody().user, nobody().group) == 0);

  // Root's link in root's directory, absolute and relative: as /var/run.
  REQUIRE(symlink((dir / "real").c_str(), (dir / "absolute").c_str()) == 0);
  REQUIRE(symlink("real", (dir / "relative").c_str()) == 0);
  make_directories(dir / "absolute/x", nobody());
  make_directories(dir / "relative/y", nobody());
  CHECK(status_of(dir / "real/x").st_uid == nobody().user);
  CHECK(status_of(dir / "real/y").st_uid == nobody().user);

  // The user's own link, into a place of root: a trap for root, who would make and give away a directory
  // there.
  REQUIRE(mkdir((dir / "secret").c_str(), 0755) == 0);
  REQUIRE(symlink((dir / "secret").c_str(), (dir / "theirs/trap").c_str()) == 0);
  REQUIRE(lchown((dir / "theirs/trap").c_str(), nobody().user, nobody().group) == 0);
  const auto [code, message] = refusal([&] { make_directories(dir / "theirs/trap/x", nobody()); });
  CHECK(code == Exit::no_permission);
  CHECK(contains(message, "symbolic link to a place that belongs to root"));
  CHECK(!std::filesystem::exists(dir / "secret/x"));
  // Root's link, but in a directory where the user could have put it.
  REQUIRE(symlink((dir / "secret").c_str(), (dir / "theirs/planted").c_str()) == 0);
  CHECK(refusal([&] { make_directories(dir / "theirs/planted/x", nobody()); }).first == Exit::no_permission);
  // The user's own link to a place of their own.
  REQUIRE(mkdir((dir / "theirs/home").c_str(), 0755) == 0);
  REQUIRE(chown((dir / "theirs/home").c_str(), nobody().user, nobody().group) == 0);
  REQUIRE(symlink("home", (dir / "theirs/link").c_str()) == 0);
  REQUIRE(lchown((dir / "theirs/link").c_str(), nobody().user, nobody().group) == 0);
  make_directories(dir / "theirs/link/x", nobody());
  CHECK(std::filesystem::exists(dir / "theirs/home/x"));
}

TEST_CASE("directories: users and groups by name") {
  CHECK(Owner::named("root").user == 0);
  CHECK(Owner::named("root", "daemon").group != 0);
  CHECK(refusal([] { Owner::named("no-such-user"); }).first == Exit::config);
  CHECK(contains(refusal([] { Owner::named("root", "no-such-group"); }).second, "no group `no-such-group`"));
}

TEST_CASE("directories: where control sockets live") {
  stem::Config config;
  CHECK(stem::runtime_dir(config, {{"RUNTIME_DIRECTORY", "/run/a:/run/b"}}) == "/run/a");
  config.runtime_dir = "/x";
  CHECK(stem::runtime_dir(config, {{"RUNTIME_DIRECTORY", "/run/a"}}) == "/x");
  config.runtime_dir.clear();
  if (geteuid() != 0) {
    MESSAGE("the rest needs root");
    return;
  }
  CHECK(stem::runtime_dir(config, {{"XDG_RUNTIME_DIR", "/run/user/0"}}) == "/run/stem");
  const Owner stranger{54321, 54321};
  const std::string fallback = "/tmp/stem-54321";
  std::filesystem::remove_all(fallback);
  CHECK(as_user(stranger, [&] {
          if (stem::runtime_dir(stem::Config{}, {{"XDG_RUNTIME_DIR", "/run/user/1"}}) != "/run/user/1/stem")
            return 1;
          if (stem::runtime_dir(stem::Config{}, {{"XDG_RUNTIME_DIR", ""}}) != fallback) return 2;
          make_directories(fallback, Owner::self(), true);
          return stem::runtime_dir(stem::Config{}, {}) == fallback ? 0 : 3;
        }) == 0);
  std::filesystem::remove_all(fallback);
  REQUIRE(mkdir(fallback.c_str(), 0777) == 0);  // someone was here before
  CHECK(as_user(stranger, [&] {
          return refusal([] { stem::runtime_dir(stem::Config{}, {}); }).first == Exit::no_permission ? 0 : 1;
        }) == 0);
  std::filesystem::remove_all(fallback);
}
