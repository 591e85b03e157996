#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <functional>
#include <regex>
#include <stem/error.hpp>

#include "child_process.hpp"
#include "core/log_scope.hpp"
#include "core/trace_scope.hpp"
#include "notify_listener.hpp"
#include "refusal.hpp"
#include "service/log_output.hpp"
#include "temp_dir.hpp"

using stem::Error;
using stem::Exit;
using stem::LogOutput;

namespace {

void log_as_a_job(const std::string& message) {
  const std::string id = "0191-id", task = "mail.send", queue = "mail";
  const stem::LogScope scope(id, task, queue, 2);
  spdlog::warn("{}", message);
}

}  // namespace

TEST_CASE("log_output: lines in a file") {
  const TempDir dir;
  const auto path = dir / "web-1.log";
  {
    const auto old = umask(077);
    LogOutput log({.node = "web-1", .file = path, .level = "info"});
    umask(old);
    spdlog::info("hello {}", 7);
    spdlog::debug("not shown");
    log_as_a_job("slow");
    spdlog::error("two\nlines \x1b[31m");
    log.set_level("debug");
    spdlog::debug("shown");
    log.write_line("a foreign line");
    CHECK_FALSE(log.to_journal());
  }
  spdlog::set_level(spdlog::level::off);
  const auto text = content_of(path);
  const std::regex first("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z info    web-1 hello 7\n");
  CHECK(std::regex_search(text, first, std::regex_constants::match_continuous));
  CHECK_FALSE(contains(text, "not shown"));
  CHECK(contains(text, "Z warning web-1 [mail.send 0191-id] slow\n"));
  CHECK(contains(text, "Z error   web-1 two\n    lines \\x1b[31m\n"));
  CHECK(contains(text, "Z debug   web-1 shown\n"));
  CHECK(contains(text, "\na foreign line\n"));
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
}

TEST_CASE("log_output: after rotation the file is opened anew, and no line is lost") {
  const TempDir dir;
  const auto path = dir / "a.log";
  LogOutput log({.node = "", .file = path, .level = "info"});
  for (int i = 0; i < 100; ++i) {
    spdlog::info("line {}", i);
    if (i == 30) std::filesystem::rename(path, dir / "a.log.1");
    if (i == 60) log.reopen();
  }
  const auto old = content_of(dir / "a.log.1"), fresh = content_of(path);
  for (int i = 0; i <= 60; ++i) CHECK(contains(old, "line " + std::to_string(i) + "\n"));
  for (int i = 61; i < 100; ++i) CHECK(contains(fresh, "line " + std::to_string(i) + "\n"));
  // A place that cannot be opened: the old file stays in use.
  std::filesystem::rename(path, dir / "a.log.2");
  std::filesystem::create_directory(path);
  CHECK(refusal([&] { log.reopen(); }).first == Exit::cannot_create);
  spdlog::info("still here");
  CHECK(contains(content_of(dir / "a.log.2"), "still here"));
  spdlog::set_level(spdlog::level::off);
}

TEST_CASE("log_output: a disk that is full costs lines, not the worker; the gap is told afterwards") {
  const TempDir dir;
  const auto path = dir.file("a.log", std::string(4096, 'x'));
  ChildProcess child([&] {
    signal(SIGXFSZ, SIG_IGN);
    LogOutput log({.node = "", .file = path, .level = "info"});
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 5; ++i) spdlog::info("lost {}", i);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    spdlog::info("back");
    return 0;
  });
  CHECK(child.wait() == 0);
  const auto text = content_of(path).substr(4096);
  CHECK_FALSE(contains(text, "lost 0"));
  CHECK(contains(text, "(5 lines before this one could not be written)\n"));
  CHECK(contains(text, "info    back\n"));
}

TEST_CASE("log_output: files that cannot or must not be opened") {
  const TempDir dir;
  const auto open = [](const std::string& path) { return refusal([&] { stem::open_log_file(path); }); };
  CHECK(open(dir / "no/such.log").first == Exit::cannot_create);
  CHECK(contains(open(dir / "no/such.log").second, dir / "no/such.log"));
  REQUIRE(mkfifo((dir / "fifo").c_str(), 0600) == 0);
  CHECK(contains(open(dir / "fifo").second, "nothing reads"));
  REQUIRE(symlink("loop", (dir / "loop").c_str()) == 0);
  CHECK(contains(open(dir / "loop").second, "too many symbolic links"));
  CHECK(open("/dev/null").first == Exit::ok);
  if (access("/dev/stdout", W_OK) == 0) CHECK(open("/dev/stdout").first == Exit::ok);
  REQUIRE(symlink("target.log", (dir / "ours.log").c_str()) == 0);
  CHECK(open(dir / "ours.log").first == Exit::ok);
  CHECK(std::filesystem::exists(dir / "target.log"));
  CHECK(refusal([] { LogOutput log({.node = "", .file = "", .level = "loud"}); }).first == Exit::config);
  if (geteuid() != 0) return;
  REQUIRE(symlink((dir / "secret").c_str(), (dir / "trap.log").c_str()) == 0);
  REQUIRE(lchown((dir / "trap.log").c_str(), 4242, 4242) == 0);
  CHECK(open(dir / "trap.log").first == Exit::no_permission);
  CHECK_FALSE(std::filesystem::exists(dir / "secret"));
}

TEST_CASE("log_output: standard error gets plain lines when it is no terminal") {
  const TempDir dir;
  ChildProcess child([&] {
    dup2(::open((dir / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
    unsetenv("JOURNAL_STREAM");
    setenv("DEBUG_INVOCATION", "1", 1);
    LogOutput log({.node = "n", .file = "", .level = "info"});
    spdlog::error("wrong");
    spdlog::debug("details");
    return log.to_journal() ? 1 : 0;
  });
  CHECK(child.wait() == 0);
  CHECK(contains(content_of(dir / "err"), "Z error   n wrong\n"));
  CHECK(contains(content_of(dir / "err"), "Z debug   n details\n"));
}

TEST_CASE("log_output: a terminal gets colours, unless they are not wanted") {
  const auto on_terminal = [](bool colour) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(master >= 0);
    REQUIRE(grantpt(master) == 0);
    REQUIRE(unlockpt(master) == 0);
    const int slave = ::open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ChildProcess child([&] {
      dup2(slave, STDERR_FILENO);
      unsetenv("JOURNAL_STREAM");
      unsetenv("NO_COLOR");
      LogOutput log({.node = "n", .file = "", .level = "info", .colour = colour});
      spdlog::error("wrong");
      return 0;
    });
    CHECK(child.wait() == 0);
    char text[512];
    const auto length = read(master, text, sizeof text);
    close(slave);
    close(master);
    return std::string(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  };
  CHECK(contains(on_terminal(true), "\033[31merror  \033[0m n wrong"));
  CHECK_FALSE(contains(on_terminal(false), "\033"));
}

TEST_CASE("log_output: the journal gets native fields") {
  if (geteuid() != 0) {
    MESSAGE("needs root, for a mount namespace with a journal socket of its own");
    return;
  }
  // /run is the test's own here, and so is the socket that sd_journal_sendv(3) writes to.
  int results[2];
  REQUIRE(pipe2(results, O_CLOEXEC) == 0);
  ChildProcess child([&] {
    if (unshare(CLONE_NEWNS) != 0) return 77;
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0)
      return 77;
    std::filesystem::create_directories("/run/systemd/journal");
    NotifyListener journal("/run/systemd/journal/socket");
    const int file = ::open("/run/err", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    dup2(file, STDERR_FILENO);
    struct stat status {};
    fstat(STDERR_FILENO, &status);
    setenv("JOURNAL_STREAM", (std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino)).c_str(),
           1);
    LogOutput log({.node = "web-1", .file = "", .level = "info"});
    if (!log.to_journal()) return 1;
    const auto context = *stem::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    {
      const stem::TraceScope traced(context);
      log_as_a_job("slow");
    }
    auto entry = journal.next();
    spdlog::error("plain");
    entry += "----\n" + journal.next();
    setenv("JOURNAL_STREAM", "1:2", 1);  // someone else's
    if (stem::stderr_is_journal()) return 2;
    return write(results[1], entry.data(), entry.size()) > 0 ? 0 : 3;
  });
  const int status = child.wait();
  close(results[1]);
  if (status == 77) {
    MESSAGE("no mount namespaces here");
    close(results[0]);
    return;
  }
  CHECK(status == 0);
  char text[4096];
  const auto length = read(results[0], text, sizeof text);
  close(results[0]);
  REQUIRE(length > 0);
  const std::string entries = "\n" + std::string(text, static_cast<std::size_t>(length));
  const auto job = entries.substr(0, entries.find("----")), plain = entries.substr(entries.find("----"));
  for (const char* field :
       {"SYSLOG_IDENTIFIER=stem", "PRIORITY=4", "MESSAGE=slow", "STEM_NODE=web-1", "STEM_TASK_ID=0191-id",
        "STEM_TASK=mail.send", "STEM_QUEUE=mail", "STEM_ATTEMPT=2",
        "TRACE_ID=0af7651916cd43dd8448eb211c80319c", "SPAN_ID=b7ad6b7169203331"}) {
    CAPTURE(field);
    CHECK(contains(job, "\n" + std::string(field) + "\n"));
  }
  CHECK(contains(plain, "\nPRIORITY=3\n"));
  CHECK(contains(plain, "\nMESSAGE=plain\n"));
  CHECK_FALSE(contains(plain, "STEM_TASK"));
  CHECK_FALSE(contains(plain, "TRACE_ID"));
}
