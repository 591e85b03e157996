#include "service/credentials.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "child_process.hpp"
#include "error_of.hpp"
#include "temp_dir.hpp"

using namespace stem;

TEST_CASE("credentials: a secret setting comes from its file, over variables and environment files") {
  TempDir directory;
  directory.file("stem.broker-url", "redis://app:hunter2@cache/0\n");
  directory.file("stem.worker-concurrency", "8\n");  // no secret: not looked for
  const auto all = with_credentials(
      {{"CREDENTIALS_DIRECTORY", directory.path()}, {"STEM_BROKER_URL", "memory://left-behind"}});
  CHECK(all.at("STEM_BROKER_URL") == "redis://app:hunter2@cache/0");
  CHECK_FALSE(all.contains("STEM_RESULT_BACKEND_URL"));
  CHECK_FALSE(all.contains("STEM_WORKER_CONCURRENCY"));
  CHECK(Config::from(all).broker_url == "redis://app:hunter2@cache/0");
}

TEST_CASE("credentials: without a directory, or with a relative one, nothing is read") {
  CHECK(with_credentials({{"A", "b"}}) == Environment{{"A", "b"}});
  CHECK(with_credentials({{"CREDENTIALS_DIRECTORY", "x"}}).size() == 1);
  CHECK(with_credentials({{"CREDENTIALS_DIRECTORY", "/nowhere/at/all"}}).size() == 1);
}

TEST_CASE("credentials: one line break at the end is no part of the value") {
  TempDir directory;
  CHECK(read_credential(directory.file("a", "x")) == "x");
  CHECK(read_credential(directory.file("b", "x\n")) == "x");
  CHECK(read_credential(directory.file("c", "x\r\n")) == "x");
  CHECK(read_credential(directory.file("d", "x\n\n")) == "x\n");
  CHECK(read_credential(directory.file("e", "")).empty());
}

TEST_CASE("credentials: what cannot be one is refused with its path, and without what is in it") {
  TempDir directory;
  const auto missing = error_of([&] { read_credential(directory / "none"); });
  CHECK(missing.status == 66);
  const auto nul = error_of([&] { read_credential(directory.file("nul", std::string("hunter2\0x", 9))); });
  CHECK(nul.status == 78);
  CHECK(nul.says(directory / "nul"));
  CHECK_FALSE(nul.says("hunter2"));
  const auto large =
      error_of([&] { read_credential(directory.file("large", std::string(1024 * 1024 + 1, 'x'))); });
  CHECK(large.status == 78);
  CHECK(large.says("1 MiB"));
  CHECK(error_of([&] { read_credential(directory.path()); }).status == 78);
  if (getuid() == 0) {
    const auto path = directory.file("private", "hunter2");
    chmod(path.c_str(), 0600);
    chmod(directory.path().c_str(), 0755);
    ChildProcess other([&] {
      if (!become(stranger)) return 1;
      const auto refused = error_of([&] { with_credentials({{"CREDENTIALS_DIRECTORY", directory.path()}}); });
      const auto read = error_of([&] { read_credential(path); });
      return refused.status == 0 && read.status == 77 && read.says(path) ? 0 : 2;
    });
    CHECK(other.wait() == 0);
  }
}
