#include <doctest/doctest.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stem/error.hpp>
#include <thread>

#include "supervisor/log_file.hpp"
#include "temp_dir.hpp"

using namespace stem;
using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

namespace {

/// Collects lines; stops the reading when it has been told to.
class Collector : public LogReader {
 public:
  void line(const LogLine& line) override {
    const std::lock_guard lock(mutex_);
    lines_.push_back(line.node + " " + line.text);
    changed_.notify_all();
  }
  bool caught_up() override {
    const std::lock_guard lock(mutex_);
    ++rounds_;
    changed_.notify_all();
    return !enough_;
  }
  int reader_fd() const override { return hang_up_[0]; }

  Collector() { REQUIRE(pipe(hang_up_) == 0); }
  ~Collector() override {
    close(hang_up_[0]);
    close(hang_up_[1]);
  }

  Lines lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  bool wait_for_lines(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 5s, [&] { return lines_.size() >= count; });
  }
  bool wait_for_start() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 5s, [&] { return rounds_ > 0; });
  }
  /// As a pager that is left.
  void leave() {
    const std::lock_guard lock(mutex_);
    enough_ = true;
    close(hang_up_[1]);
    hang_up_[1] = -1;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Lines lines_;
  int rounds_ = 0;
  bool enough_ = false;
  int hang_up_[2];
};

LogQuery last(std::size_t count) {
  LogQuery query;
  query.last = count;
  return query;
}

Lines read(const std::string& path, const LogQuery& query) {
  Collector collector;
  read_log_files({{"a", path}}, query, collector);
  return collector.lines();
}

void append(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::app) << text;
}

/// read_log_files() with follow on a thread of its own.
struct Following {
  Collector collector;
  std::thread thread;

  explicit Following(const std::string& path, std::size_t count = 0)
      : thread([this, path, count] {
          auto query = last(count);
          query.follow = true;
          read_log_files({{"a", path}}, query, collector);
        }) {
    REQUIRE(collector.wait_for_start());
  }
  ~Following() {
    collector.leave();
    thread.join();
  }
};

}  // namespace

TEST_CASE("log file: so many of its last lines, also of one without an end") {
  TempDir directory;
  const auto path = directory.file("a.log", "one\ntwo\nthree\nrest");
  CHECK(read(path, {}) == Lines{"a one", "a two", "a three", "a rest"});
  CHECK(read(path, last(2)) == Lines{"a three", "a rest"});
  CHECK(read(path, last(0)) == Lines{});
  CHECK(read(path, last(99)) == Lines{"a one", "a two", "a three", "a rest"});
  CHECK(read(directory.file("b.log", "one\n\ntwo\n"), last(2)) == Lines{"a ", "a two"});
  CHECK(read(directory.file("empty.log", ""), last(5)) == Lines{});
}

TEST_CASE("log file: the last lines of a large file are found from its end") {
  TempDir directory;
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "line " + std::to_string(i) + "\n";
  const auto lines = read(directory.file("a.log", text), last(20'000));
  REQUIRE(lines.size() == 20'000);
  CHECK(lines.front() == "a line 80000");
  CHECK(lines.back() == "a line 99999");
}

TEST_CASE("log file: one that is missing, a link or no file is refused by name") {
  TempDir directory;
  const auto refused = [&](const std::string& path, const char* words, Exit code) {
    try {
      read(path, {});
      FAIL("not refused");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find(words) != std::string::npos);
      CHECK(std::string(error.what()).find(path) != std::string::npos);
      CHECK(error.code() == code);
    }
  };
  refused(directory / "none.log", "has no log file", Exit::no_input);
  std::filesystem::create_symlink("/etc/passwd", directory / "link.log");
  refused(directory / "link.log", "symbolic link", Exit::no_permission);
  std::filesystem::create_directory(directory / "dir.log");
  refused(directory / "dir.log", "not a regular file", Exit::no_permission);
}

TEST_CASE("log file: what is written later is followed, line by line") {
  TempDir directory;
  const auto path = directory.file("a.log", "old\n");
  Following following(path, 1);
  append(path, "ha");
  append(path, "lf\nnext\n");
  REQUIRE(following.collector.wait_for_lines(3));
  CHECK(following.collector.lines() == Lines{"a old", "a half", "a next"});
}

TEST_CASE(
    "log file: no line is lost when it is renamed and made anew while its writer still has the old one") {
  TempDir directory;
  const auto path = directory.file("a.log", "");
  Following following(path);
  std::ofstream writer(path, std::ios::app);
  writer << "before\n" << std::flush;
  std::filesystem::rename(path, path + ".1");
  writer << "after the rename\n" << std::flush;
  append(path, "");  // logrotate's `create`
  writer << "before the signal\n" << std::flush;
  REQUIRE(following.collector.wait_for_lines(3));
  append(path, "after the signal\n");
  REQUIRE(following.collector.wait_for_lines(4));
  writer << "a late one\n" << std::flush;
  REQUIRE(following.collector.wait_for_lines(5));
  CHECK(following.collector.lines() ==
        Lines{"a before", "a after the rename", "a before the signal", "a after the signal", "a a late one"});
}

TEST_CASE("log file: one that is cut to nothing is read from its beginning again") {
  TempDir directory;
  const auto path = directory.file("a.log", "a long line of the past\n");
  Following following(path, 1);
  std::filesystem::resize_file(path, 0);
  append(path, "new\n");
  REQUIRE(following.collector.wait_for_lines(2));
  CHECK(following.collector.lines().back() == "a new");
}

TEST_CASE("log file: one that does not exist yet is waited for") {
  TempDir directory;
  Following following(directory / "a.log");
  append(directory / "a.log", "first\n");
  REQUIRE(following.collector.wait_for_lines(1));
  CHECK(following.collector.lines() == Lines{"a first"});
}

TEST_CASE("log file: several nodes are followed at once, each line with its node") {
  TempDir directory;
  const auto a = directory.file("a.log", "1\n"), b = directory.file("b.log", "2\n");
  Collector collector;
  std::thread thread([&] {
    LogQuery query;
    query.follow = true;
    read_log_files({{"a", a}, {"b", b}}, query, collector);
  });
  REQUIRE(collector.wait_for_start());
  append(b, "3\n");
  CHECK(collector.wait_for_lines(3));
  CHECK(collector.lines() == Lines{"a 1", "b 2", "b 3"});
  collector.leave();
  thread.join();
}
