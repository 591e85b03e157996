#include <doctest/doctest.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stem/task.hpp>

extern "C" void stem_register_tasks(stem::Registry& registry);

namespace {

/// A job that records what its handler said, and can be cancelled.
struct FakeJob : stem::TaskContext {
  explicit FakeJob(stem::Json args) : args_(std::move(args)) {}
  const std::string& id() const override { return text_; }
  const std::string& task() const override { return text_; }
  const std::string& queue() const override { return text_; }
  int attempt() const override { return 0; }
  int max_retries() const override { return 0; }
  const stem::Json& args() const override { return args_; }
  const std::map<std::string, std::string>& headers() const override { return headers_; }
  const stem::Result* previous() const override { return nullptr; }
  const std::vector<stem::Json>& chord_results() const override { return none_; }
  spdlog::logger& log() override { return *spdlog::default_logger(); }
  void heartbeat() override {}
  void extend_lease(stem::Duration) override {}
  void progress(double fraction, const std::string&) override { fractions.push_back(fraction); }
  bool cancelled() const override { return cancel; }

  std::vector<double> fractions;
  bool cancel = false;

 private:
  std::string text_ = "test";
  stem::Json args_;
  std::map<std::string, std::string> headers_;
  std::vector<stem::Json> none_;
};

struct Directory {
  std::filesystem::path path;
  Directory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "stem-files-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    path = pattern;
  }
  ~Directory() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
    return (path / name).string();
  }
};

stem::Outcome run(const std::string& task, stem::TaskContext& job) {
  stem::Registry registry;
  stem_register_tasks(registry);
  const auto* found = registry.find(task);
  REQUIRE(found);
  return found->handler(job);
}

stem::Json value(const std::string& task, stem::Json args) {
  FakeJob job{std::move(args)};
  const auto outcome = run(task, job);
  REQUIRE(std::holds_alternative<stem::Done>(outcome));
  return std::get<stem::Done>(outcome).value;
}

std::string reason(const std::string& task, stem::Json args) {
  FakeJob job{std::move(args)};
  const auto outcome = run(task, job);
  REQUIRE(std::holds_alternative<stem::Dead>(outcome));
  return std::get<stem::Dead>(outcome).reason;
}

}  // namespace

TEST_CASE("files.sha256: known sums, of nothing and of a few bytes") {
  const Directory dir;
  CHECK(value("files.sha256", {{"path", dir.file("empty", "")}}) ==
        stem::Json{{"sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                   {"bytes", 0}});
  CHECK(value("files.sha256", {{"path", dir.file("abc", "abc")}}) ==
        stem::Json{{"sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
                   {"bytes", 3}});
}

TEST_CASE("files.lines: counts newlines as wc does, across chunks") {
  const Directory dir;
  CHECK(value("files.lines", {{"path", dir.file("a", "one\ntwo\nno end")}})["lines"] == 2);
  std::string big;
  for (int i = 0; i < 300000; ++i) big += "a line\n";
  CHECK(value("files.lines", {{"path", dir.file("b", big)}}) ==
        stem::Json{{"lines", 300000}, {"bytes", 2100000}});
}

TEST_CASE("files.gzip_size: much of the same gets small, levels matter, an empty file still has a header") {
  const Directory dir;
  const auto path = dir.file("same", std::string(1000000, 'x'));
  const auto small = value("files.gzip_size", {{"path", path}});
  CHECK(small["bytes"] == 1000000);
  CHECK(small["gzipBytes"] < 2000);
  CHECK(value("files.gzip_size", {{"path", path}, {"level", 1}})["gzipBytes"] > small["gzipBytes"]);
  CHECK(value("files.gzip_size", {{"path", dir.file("empty", "")}})["gzipBytes"] == 20);
}

TEST_CASE("files: what no second attempt can mend is dead, and says why") {
  const Directory dir;
  CHECK(reason("files.lines", stem::Json::object()).find("args.path is missing") != std::string::npos);
  CHECK(reason("files.lines", {{"path", 7}}).find("args.path is missing") != std::string::npos);
  CHECK(reason("files.lines", {{"path", std::string("a\0b", 3)}}).find("null character") !=
        std::string::npos);
  CHECK(reason("files.sha256", {{"path", (dir.path / "none").string()}})
            .find("none: cannot open: No such file") != std::string::npos);
  CHECK(reason("files.gzip_size", {{"path", dir.path.string()}}).find("is a directory") != std::string::npos);
  CHECK(reason("files.gzip_size", {{"path", dir.file("f", "x")}, {"level", 10}}).find("args.level") !=
        std::string::npos);
  REQUIRE(mkfifo((dir.path / "pipe").c_str(), 0600) == 0);
  CHECK(reason("files.lines", {{"path", (dir.path / "pipe").string()}}).find("not a regular file") !=
        std::string::npos);
  const auto secret = dir.file("secret", "x");
  REQUIRE(chmod(secret.c_str(), 0) == 0);
  const auto self = geteuid();
  if (self == 0) REQUIRE(seteuid(65534) == 0);  // root may read everything
  const auto denied = reason("files.lines", {{"path", secret}});
  REQUIRE(seteuid(self) == 0);
  CHECK(denied.find("Permission denied") != std::string::npos);
}

TEST_CASE("files: a read error that may pass is tried again") {
  FakeJob job{{{"path", "/proc/self/mem"}}};  // regular, and not readable at address 0: EIO
  const auto outcome = run("files.lines", job);
  REQUIRE(std::holds_alternative<stem::Retry>(outcome));
  CHECK(std::get<stem::Retry>(outcome).reason.find("cannot read") != std::string::npos);
}

TEST_CASE("files: a big file tells how far it is") {
  const Directory dir;
  const auto path = dir.file("sparse", "");
  REQUIRE(truncate(path.c_str(), 40 << 20) == 0);
  FakeJob job{{{"path", path}}};
  CHECK(std::holds_alternative<stem::Done>(run("files.lines", job)));
  REQUIRE(job.fractions.size() == 2);
  CHECK(job.fractions[0] == doctest::Approx(0.4));
  CHECK(job.fractions[1] == doctest::Approx(0.8));
}

TEST_CASE("files: a cancelled job stops after the chunk it is at, to be tried again") {
  const Directory dir;
  FakeJob job{{{"path", dir.file("some", std::string(3 << 20, 'x'))}}};
  job.cancel = true;
  const auto outcome = run("files.sha256", job);
  REQUIRE(std::holds_alternative<stem::Retry>(outcome));
  CHECK(std::get<stem::Retry>(outcome).reason.find("stopped after 262144 bytes") != std::string::npos);
}
