#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <stem/error.hpp>

#include "child_process.hpp"
#include "refusal.hpp"
#include "service/detach.hpp"
#include "temp_dir.hpp"

using namespace std::chrono_literals;
using stem::Error;
using stem::Exit;
using stem::start_detached;

namespace {

/// What a background process leaves behind is not ours to wait for, but it must not outlive the test either.
struct Ended {
  pid_t pid;
  ~Ended() {
    if (pid > 0) kill(pid, SIGKILL);
  }
};

stem::DetachSettings with(const std::string& workdir, const std::string& logfile,
                          stem::Duration timeout = 10s) {
  return {.workdir = workdir, .logfile = logfile, .timeout = timeout};
}

}  // namespace

TEST_CASE("detach: the starter returns when the background process is ready") {
  const TempDir dir;
  int hold[2];
  REQUIRE(pipe(hold) == 0);  // without O_CLOEXEC: the background process must close it all the same
  const Ended background{start_detached(with(dir.path(), dir / "out.log"), [&](const auto& ready) {
    const int held = fcntl(hold[0], F_GETFD);
    std::ofstream(dir / "facts") << getpid() << ' ' << getppid() << ' ' << getsid(0) << ' ' << getpgrp()
                                 << ' ' << umask(0) << ' ' << std::filesystem::current_path().string() << ' '
                                 << held << ' ' << isatty(0);
    printf("to the log\n");
    fflush(stdout);
    fprintf(stderr, "this too\n");
    ready();
    pause();
    return 0;
  })};
  std::ifstream facts(dir / "facts");
  pid_t pid, parent, session, group;
  int mask, held, terminal;
  std::string workdir;
  REQUIRE(
      static_cast<bool>(facts >> pid >> parent >> session >> group >> mask >> workdir >> held >> terminal));
  CHECK(background.pid == pid);
  CHECK(session != getsid(0));
  CHECK(session != pid);  // no session leader: it cannot come to a terminal
  CHECK(group == pid);
  CHECK(mask == 022);
  CHECK(workdir == dir.path());
  CHECK(held == -1);
  CHECK(terminal == 0);
  CHECK(content_of(dir / "out.log") == "to the log\nthis too\n");
  CHECK(kill(pid, 0) == 0);
  int subreaper = 1;
  prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  CHECK(subreaper == 0);
  close(hold[0]);
  close(hold[1]);
}

TEST_CASE("detach: a failure before readiness comes back with its words and its code") {
  const auto start = [](const std::function<int(const std::function<void()>&)>& body) {
    return refusal([&] { start_detached(with("/", ""), body); });
  };
  auto [code, message] =
      start([](const auto&) -> int { throw Error(Exit::config, "/etc/stem.env:3: bad line"); });
  CHECK(code == Exit::config);
  CHECK(message == "/etc/stem.env:3: bad line");
  CHECK(start([](const auto&) -> int { throw std::runtime_error("odd"); }).first == Exit::software);
  std::tie(code, message) = start([](const auto&) { return 69; });
  CHECK(code == Exit::unavailable);
  CHECK(contains(message, "ended with status 69 before it was ready"));
  CHECK(start([](const auto&) { return 0; }).first == Exit::unhealthy);
  std::tie(code, message) = start([](const auto&) { return raise(SIGKILL); });
  CHECK(code == Exit::software);
  CHECK(contains(message, "killed by signal 9"));
  CHECK(refusal([] { start_detached(with("/no/such", ""), [](const auto&) { return 0; }); }).first ==
        Exit::config);
  CHECK(refusal([] { start_detached(with("/", "/no/such/x.log"), [](const auto&) { return 0; }); }).first ==
        Exit::cannot_create);
}

TEST_CASE("detach: one that never becomes ready is ended") {
  const TempDir dir;
  const auto [code, message] = refusal([&] {
    start_detached(with("/", "", 300ms), [&](const auto&) {
      std::ofstream(dir / "pid") << getpid() << std::flush;
      for (;;) pause();
      return 0;
    });
  });
  CHECK(code == Exit::try_again);
  CHECK(contains(message, "not ready within 300ms"));
  pid_t pid = 0;
  std::ifstream(dir / "pid") >> pid;
  REQUIRE(pid > 0);
  CHECK(kill(pid, 0) != 0);
}
