#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <stem/error.hpp>

#include "supervisor/node_record.hpp"
#include "temp_dir.hpp"

using namespace stem;

namespace {

NodeRecord sample() {
  NodeRecord record;
  record.options.queues = {"mail"};
  record.pidfile = "/run/stem/a.pid";
  record.logfile = "/var/log/stem/a.log";
  return record;
}

}  // namespace

TEST_CASE("node record: read back as it was written, and listed") {
  TempDir directory;
  const NodeRecords records(directory.path());
  CHECK_FALSE(records.read("a"));
  CHECK(records.nodes().empty());
  const auto lock = records.lock("a");
  records.write("a", sample());
  records.write("a", sample());
  const auto back = records.read("a");
  REQUIRE(back);
  CHECK(back->options == sample().options);
  CHECK(back->pidfile == sample().pidfile);
  CHECK(back->logfile == sample().logfile);
  CHECK(records.nodes() == std::vector<std::string>{"a"});
}

TEST_CASE("node record: a second start of a node waits until the first is through") {
  TempDir directory;
  const NodeRecords records(directory.path());
  auto first = records.lock("a");
  const Descriptor other(open((directory / "multi/a.lock").c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(other);
  CHECK(flock(other.get(), LOCK_EX | LOCK_NB) != 0);
  first.reset();
  CHECK(flock(other.get(), LOCK_EX | LOCK_NB) == 0);
}

TEST_CASE("node record: cut short, of another version or of other types, it is no record") {
  TempDir directory;
  const NodeRecords records(directory.path());
  { records.lock("a"); }
  records.write("a", sample());
  const auto whole = content_of(directory / "multi/a.json");
  for (std::size_t length = 0; length + 2 < whole.size(); ++length) {
    directory.file("multi/a.json", whole.substr(0, length));
    CHECK_FALSE(records.read("a"));
  }
  directory.file("multi/a.json", R"({"v":2,"options":{},"pidfile":"/a","logfile":"/b"})");
  CHECK_FALSE(records.read("a"));
  directory.file("multi/a.json", R"({"v":1,"options":{},"pidfile":7,"logfile":"/b"})");
  CHECK_FALSE(records.read("a"));
}

TEST_CASE("node record: a link is not followed, and a record of another user is not believed") {
  TempDir directory;
  const NodeRecords records(directory.path());
  { records.lock("a"); }
  records.write("a", sample());
  std::filesystem::rename(directory / "multi/a.json", directory / "elsewhere");
  std::filesystem::create_symlink(directory / "elsewhere", directory / "multi/a.json");
  CHECK_FALSE(records.read("a"));
  if (geteuid() != 0) return;
  std::filesystem::rename(directory / "elsewhere", directory / "multi/a.json");
  REQUIRE(records.read("a"));
  REQUIRE(chown((directory / "multi/a.json").c_str(), 65534, 65534) == 0);
  CHECK_FALSE(records.read("a"));
  REQUIRE(chown((directory / "multi").c_str(), 65534, 65534) == 0);
  CHECK_THROWS_AS(records.lock("a"), Error);
}

TEST_CASE("node record: a link in the directory's place is not followed, wherever it leads") {
  TempDir directory;
  std::filesystem::create_directory(directory / "elsewhere");
  std::filesystem::create_symlink(directory / "elsewhere", directory / "multi");
  const NodeRecords records(directory.path());
  const auto refused = [](const auto& what) {
    try {
      what();
    } catch (const Error& error) {
      CHECK(error.code() == Exit::no_permission);
      CHECK(std::string(error.what()).find("cannot trust") != std::string::npos);
      return true;
    }
    return false;
  };
  CHECK(refused([&] { records.lock("a"); }));
  CHECK(refused([&] { records.write("a", sample()); }));
  CHECK_FALSE(records.read("a"));
  CHECK(std::filesystem::is_empty(directory / "elsewhere"));
}
