#include "diagnosis/account.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "child_process.hpp"
#include "temp_dir.hpp"

using namespace stem;
using namespace std::chrono_literals;
using Kind = Trial::Kind;

TEST_CASE("accounts: by name, by number, with a group, or not at all") {
  CHECK(Account::named("root")->user == 0);
  CHECK(Account::named("0")->name == "root");
  CHECK(Account::named("root", "daemon")->group == 1);
  CHECK_FALSE(Account::named("no-such-user"));
  CHECK_FALSE(Account::named("root", "no-such-group"));
  CHECK_FALSE(Account::named(""));
  CHECK(Account::self().is_self());
  CHECK(user_name(4000000000u) == "4000000000");
}

TEST_CASE("trials: what the work returns, throws, or dies of comes back") {
  const auto self = Account::self();
  const auto fine = try_as(self, 5s, [] { return std::string(200'000, 'x'); });
  CHECK(fine.kind == Kind::returned);
  CHECK(fine.text.size() == 200'000);
  const auto failed = try_as(self, 5s, []() -> std::string { throw Error(Exit::config, "no good"); });
  CHECK(failed.kind == Kind::failed);
  CHECK(failed.text == "no good");
  CHECK(failed.code == Exit::config);
  const auto defect = try_as(self, 5s, []() -> std::string { throw std::runtime_error("broken"); });
  CHECK(defect.code == Exit::software);
  const auto died = try_as(self, 5s, []() -> std::string { std::abort(); });
  CHECK(died.kind == Kind::died);
  CHECK(died.signal == SIGABRT);
  const auto left = try_as(self, 5s, []() -> std::string { _exit(0); });
  CHECK(left.kind == Kind::died);
}

TEST_CASE("trials: one that hangs is ended, and its process with it") {
  const TempDir directory;
  const auto path = directory / "pid";
  const auto late = try_as(Account::self(), 200ms, [&]() -> std::string {
    std::ofstream(path) << getpid() << std::flush;
    for (;;) pause();
  });
  CHECK(late.kind == Kind::late);
  CHECK(kill(std::atoi(content_of(path).c_str()), 0) != 0);
}

TEST_CASE("trials: root becomes the account with all its groups, others may not") {
  if (getuid() != 0) return;
  const TempDir directory;
  chmod(directory.path().c_str(), 0755);
  const auto path = directory.file("private", "x");
  chmod(path.c_str(), 0600);
  const auto nobody = *Account::named("nobody");
  CHECK(try_as(nobody, 5s, [] { return std::to_string(getuid()) + " " + std::to_string(geteuid()); }).text ==
        "65534 65534");
  CHECK(access_as(nobody, path, R_OK) == EACCES);
  CHECK(access_as(nobody, "/bin/true", X_OK) == 0);
  CHECK(access_as(Account::self(), path, R_OK) == 0);
  ChildProcess other([&] {
    if (!become(stranger)) return 1;
    if (access_as(nobody, "/bin/true", X_OK)) return 2;
    return try_as(nobody, 5s, [] { return std::string(); }).kind == Kind::impossible ? 0 : 3;
  });
  CHECK(other.wait() == 0);
}
