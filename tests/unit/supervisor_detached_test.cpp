// The fallback for real: with start-stop-daemon where it is installed, and with Stem's own way.
// STAND_IN_PROGRAM plays the worker.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "service/pidfile.hpp"
#include "supervisor/process_facts.hpp"
#include "supervisor/supervisor_detached.hpp"
#include "temp_dir.hpp"

using namespace stem;
using Kind = NodeOutcome::Kind;
using namespace std::chrono_literals;

namespace {

struct Quiet : ActionWatcher {
  std::vector<std::string> seen;
  void ended(const NodeOutcome& outcome) override { seen.push_back(outcome.node); }
};

/// A zombie is dead: in a container the first process may never collect it.
bool alive(pid_t pid) {
  const auto letter = process_letter(pid);
  return letter && *letter != 'Z' && *letter != 'X';
}

/// Living processes of a group.
int members(pid_t group) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    count += pid > 0 && getpgid(pid) == group && alive(pid);
  }
  return count;
}

/// Waits for what another process does.
template <typename Condition>
bool soon(Condition condition, std::chrono::milliseconds limit = 5s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

/// A supervisor with a directory of its own; whatever it started is ended with it.
struct Rig {
  TempDir directory;
  DetachedSettings settings;
  Quiet watcher;

  explicit Rig(const Backgrounder& backgrounder, const std::string& mode = "") {
    settings.runtime_dir = directory / "run";
    settings.log_dir = directory / "log";
    settings.program = std::getenv("STAND_IN_PROGRAM");
    settings.environment["PATH"] = "/usr/bin:/bin";
    settings.backgrounder = backgrounder;
    behave(mode);
  }
  ~Rig() {
    SupervisorDetached supervisor(settings);
    ActionSettings at_once;
    at_once.timeout = 0s;
    supervisor.stop(NodeRecords(settings.runtime_dir).nodes(), at_once, watcher);
  }

  void behave(const std::string& mode) { settings.environment["STAND_IN"] = mode; }
  std::string pidfile(const std::string& node) const { return settings.runtime_dir + "/" + node + ".pid"; }

  NodeOutcome start(const std::string& node, const NodeOptions& options = {},
                    const ActionSettings& how = {}) {
    return SupervisorDetached(settings).start({{node, options}}, how, watcher).front();
  }
  NodeOutcome stop(const std::string& node, const ActionSettings& how = {}) {
    return SupervisorDetached(settings).stop({node}, how, watcher).front();
  }
  NodeState status(const std::string& node) { return SupervisorDetached(settings).status({node}).front(); }
};

/// Every way into the background that this machine has: Stem's own, dpkg's, BusyBox's.
std::vector<Backgrounder> ways() {
  static const TempDir links;
  std::vector<Backgrounder> all{Backgrounder{}};
  if (const auto found = Backgrounder::find(); !found.program.empty()) all.push_back(found);
  for (const char* busybox : {"/bin/busybox", "/usr/bin/busybox"}) {
    const auto applet = links / "start-stop-daemon";
    if (access(busybox, X_OK) != 0) continue;
    if (!std::filesystem::exists(applet)) std::filesystem::create_symlink(busybox, applet);
    all.push_back({applet});
    break;
  }
  return all;
}

ActionSettings within(Duration timeout) {
  ActionSettings settings;
  settings.timeout = timeout;
  return settings;
}

}  // namespace

TEST_CASE("fallback: start, status and stop of one node") {
  for (const auto& way : ways()) {
    CAPTURE(way.name());
    Rig rig(way);
    CHECK_FALSE(rig.status("web-1").running());

    const auto started = rig.start("web-1");
    CHECK(started.message == "");
    CHECK(started.kind == Kind::done);
    REQUIRE(started.pid > 0);
    CHECK(read_pidfile(rig.pidfile("web-1")).pid == started.pid);
    CHECK(getsid(started.pid) != getsid(0));

    const auto state = rig.status("web-1");
    CHECK(state.running());
    CHECK(state.pid == started.pid);
    CHECK(state.uptime.has_value());
    CHECK(state.memory.value_or(0) > 0);
    CHECK(content_of(state.logfile).starts_with("stand-in of web-1\n"));

    const auto stopped = rig.stop("web-1");
    CHECK(stopped.kind == Kind::done);
    CHECK_FALSE(alive(started.pid));
    CHECK_FALSE(std::filesystem::exists(rig.pidfile("web-1")));
    CHECK(rig.status("web-1").state == NodeState::State::stopped);
  }
}

TEST_CASE("fallback: starting what runs and stopping what does not is no failure, and says so") {
  for (const auto& way : ways()) {
    Rig rig(way);
    const auto nothing = rig.stop("a");
    CHECK(nothing.kind == Kind::unchanged);
    CHECK(nothing.message == "is stopped already");
    const auto first = rig.start("a");
    const auto second = rig.start("a");
    CHECK(second.kind == Kind::unchanged);
    CHECK(second.pid == first.pid);
    CHECK(second.message == "is running already");
  }
}

TEST_CASE("fallback: many nodes at once, one of which fails, in the order of the call") {
  for (const auto& way : ways()) {
    Rig rig(way);
    std::vector<NodeRequest> requests;
    for (const char* node : {"c", "a", "b"}) requests.push_back({node, {}});
    std::filesystem::create_directories(rig.settings.runtime_dir);
    std::filesystem::create_directory(rig.pidfile("a"));
    const auto outcomes = SupervisorDetached(rig.settings).start(requests, {}, rig.watcher);
    REQUIRE(outcomes.size() == 3);
    CHECK(outcomes[0].node == "c");
    CHECK(outcomes[0].kind == Kind::done);
    CHECK(outcomes[1].node == "a");
    CHECK(outcomes[1].kind == Kind::failed);
    CHECK(outcomes[1].code == Exit::no_permission);
    CHECK(outcomes[2].kind == Kind::done);
    CHECK(rig.watcher.seen.size() == 3);
    CHECK(SupervisorDetached(rig.settings).status({}).size() >= 2);
  }
}

TEST_CASE("fallback: a worker that ends at once is a failure at once, with its exit status and its words") {
  for (const auto& way : ways()) {
    CAPTURE(way.name());
    Rig rig(way, "bad configuration");
    std::filesystem::create_directories(rig.settings.log_dir);
    std::ofstream(rig.settings.log_dir + "/a.log") << "of another start\n";
    const auto outcome = rig.start("a");
    CHECK(outcome.kind == Kind::failed);
    CHECK(outcome.code == Exit::config);
    CHECK(outcome.message == "did not start: exit-code 78 (configuration)");
    CHECK(outcome.log == std::vector<std::string>{"stand-in of a",
                                                  "stem worker start: /etc/stem/stem.env:7: unclosed quote"});
    CHECK(outcome.log_source == rig.settings.log_dir + "/a.log");
    CHECK(outcome.took < 5s);
    CHECK_FALSE(rig.status("a").running());
  }
}

TEST_CASE("fallback: a worker that is killed while it starts is named so") {
  for (const auto& way : ways()) {
    Rig rig(way, "crash");
    const auto outcome = rig.start("a");
    CHECK(outcome.code == Exit::unhealthy);
    CHECK(outcome.message == "did not start: signal 9 (KILL)");
  }
}

TEST_CASE("fallback: a worker that is never ready is ended when its time is up") {
  for (const auto& way : ways()) {
    Rig rig(way, "never ready");
    const auto outcome = rig.start("a", {}, within(300ms));
    CHECK(outcome.kind == Kind::failed);
    CHECK(outcome.code == Exit::try_again);
    CHECK(outcome.message.find("not ready in time") != std::string::npos);
    CHECK_FALSE(rig.status("a").running());
  }
}

TEST_CASE("fallback: a worker that ignores SIGTERM is killed with its children, and its pidfile goes") {
  for (const auto& way : ways()) {
    Rig rig(way, "stubborn");
    const auto started = rig.start("a");
    REQUIRE(started.kind == Kind::done);
    const pid_t group = getpgid(started.pid);
    CHECK(group != getpgrp());
    const auto stopped = rig.stop("a", within(200ms));
    CHECK(stopped.kind == Kind::done);
    CHECK(stopped.message.find("was killed") != std::string::npos);
    CHECK_FALSE(alive(started.pid));
    CHECK(soon([&] { return members(group) == 0; }));
    CHECK_FALSE(std::filesystem::exists(rig.pidfile("a")));
  }
}

TEST_CASE("fallback: a node that died is shown as failed, and started again over its old pidfile") {
  for (const auto& way : ways()) {
    Rig rig(way);
    const auto first = rig.start("a");
    kill(first.pid, SIGKILL);
    REQUIRE(soon([&] { return rig.status("a").state == NodeState::State::failed; }));
    CHECK(rig.status("a").detail.find("pidfile is left over") != std::string::npos);
    const auto second = rig.start("a");
    CHECK(second.kind == Kind::done);
    CHECK(second.pid != first.pid);
  }
}

TEST_CASE("fallback: options are remembered over stop, start and restart, until --reset") {
  for (const auto& way : ways()) {
    Rig rig(way);
    NodeOptions options;
    options.logfile = rig.directory / "other-%n.log";
    options.pidfile = rig.directory / "deep/%n-%d.pid";
    rig.start("a", options);
    const auto record = NodeRecords(rig.settings.runtime_dir).read("a");
    REQUIRE(record);
    CHECK(record->logfile == rig.directory / "other-a.log");
    CHECK(rig.status("a").pidfile == record->pidfile);
    CHECK(rig.status("a").running());
    CHECK(rig.stop("a").kind == Kind::done);

    CHECK(rig.start("a").kind == Kind::done);
    CHECK(NodeRecords(rig.settings.runtime_dir).read("a")->options == options);
    ActionSettings reset;
    reset.reset = true;
    const auto changed = rig.start("a", {}, reset);
    CHECK(changed.kind == Kind::unchanged);
    CHECK(changed.message.find("multi restart a") != std::string::npos);
    const auto restarted = SupervisorDetached(rig.settings).restart({{"a", {}}}, reset, rig.watcher).front();
    CHECK(restarted.kind == Kind::done);
    CHECK(NodeRecords(rig.settings.runtime_dir).read("a")->options.empty());
    CHECK(rig.status("a").pidfile == rig.pidfile("a"));
  }
}

TEST_CASE("fallback: restart starts what was stopped, and takes a new process for what ran") {
  for (const auto& way : ways()) {
    Rig rig(way);
    const auto first = rig.start("a");
    const auto outcomes = SupervisorDetached(rig.settings).restart({{"a", {}}, {"b", {}}}, {}, rig.watcher);
    CHECK(outcomes[0].kind == Kind::done);
    CHECK(outcomes[0].pid != first.pid);
    CHECK_FALSE(alive(first.pid));
    CHECK(outcomes[1].kind == Kind::done);
    CHECK(rig.status("b").running());
  }
}

TEST_CASE("fallback: two starts of one node in the same instant end with one worker and no failure") {
  for (const auto& way : ways()) {
    Rig rig(way);
    for (int round = 0; round < 10; ++round) {
      int gate[2];
      REQUIRE(pipe2(gate, O_CLOEXEC) == 0);
      std::vector<pid_t> callers;
      for (int i = 0; i < 3; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
          close(gate[1]);
          char byte;
          (void)!read(gate[0], &byte, 1);
          const auto outcome = rig.start("a");
          _exit(outcome.kind == Kind::done ? 10 : outcome.kind == Kind::unchanged ? 11 : 1);
        }
        callers.push_back(pid);
      }
      close(gate[0]);
      close(gate[1]);
      int done = 0, unchanged = 0;
      for (const pid_t caller : callers) {
        int status = 0;
        REQUIRE(waitpid(caller, &status, 0) == caller);
        done += WEXITSTATUS(status) == 10;
        unchanged += WEXITSTATUS(status) == 11;
      }
      CHECK(done == 1);
      CHECK(unchanged == 2);
      CHECK(rig.stop("a").kind == Kind::done);
    }
  }
}

TEST_CASE("fallback: nothing that a pidfile says makes stop touch a foreign process") {
  const pid_t bystander = fork();
  if (bystander == 0) {
    signal(SIGTERM, SIG_DFL);
    for (;;) pause();
  }
  for (const auto& text :
       {std::to_string(bystander), std::string("1"), std::to_string(getpid()), std::string("0"),
        std::string("-1"), std::string("999999999"), std::string("many words"), std::string()}) {
    CAPTURE(text);
    Rig rig(Backgrounder{});
    std::filesystem::create_directories(rig.settings.runtime_dir);
    std::ofstream(rig.pidfile("a")) << text << '\n';
    const auto outcome = rig.stop("a");
    CHECK(outcome.kind != Kind::done);
    CHECK(alive(bystander));
    CHECK(waitpid(bystander, nullptr, WNOHANG) == 0);
  }
  Rig rig(Backgrounder{});
  std::filesystem::create_directories(rig.settings.runtime_dir);
  std::filesystem::create_symlink("/etc/passwd", rig.pidfile("a"));
  CHECK(rig.stop("a").kind == Kind::failed);
  CHECK(rig.start("a").kind == Kind::failed);
  CHECK(rig.status("a").detail.find("cannot be used") != std::string::npos);
  kill(bystander, SIGKILL);
  waitpid(bystander, nullptr, 0);
}

TEST_CASE("fallback: a log file that is a link, or cannot be written, stops the start with a word on it") {
  Rig rig(Backgrounder{});
  std::filesystem::create_directories(rig.settings.log_dir);
  std::filesystem::create_symlink("/etc/hosts", rig.settings.log_dir + "/a.log");
  const auto outcome = rig.start("a");
  CHECK(outcome.kind == Kind::failed);
  CHECK(outcome.code == Exit::no_permission);
  CHECK(outcome.message.find("log file") != std::string::npos);
}

TEST_CASE("fallback: without waiting the start goes on by itself") {
  for (const auto& way : ways()) {
    Rig rig(way);
    ActionSettings at_once;
    at_once.wait = false;
    CHECK(rig.start("a", {}, at_once).kind == Kind::queued);
    CHECK(soon([&] { return rig.status("a").running(); }));
    CHECK(rig.stop("a", at_once).kind == Kind::queued);
    CHECK(soon([&] { return !rig.status("a").running(); }));
  }
}
