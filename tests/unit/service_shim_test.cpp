#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <optional>
#include <stem/error.hpp>

#include "child_process.hpp"
#include "notify_listener.hpp"
#include "refusal.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/daemon.hpp"
#include "service/shim.hpp"

using namespace std::chrono_literals;
using stem::Error;
using stem::Exit;
using stem::ServiceSettings;
using stem::Shim;
using stem::ShimSettings;

namespace {

/// A shimmed shell script, under a manager that listens. The script finds its directory in $D; `say TEXT`
/// sends to its NOTIFY_SOCKET.
class Shimmed {
 public:
  explicit Shimmed(const std::string& script,
                   const std::function<void(ShimSettings&, ServiceSettings&)>& change = {},
                   std::int64_t watchdog_usec = 0) {
    dir.file("say",
             "#!/usr/bin/python3\n"
             "import os, socket, sys\n"
             "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
             "s.sendto('\\n'.join(sys.argv[1:]).encode(), '\\0' + os.environ['NOTIFY_SOCKET'][1:])\n");
    chmod((dir / "say").c_str(), 0755);
    dir.file("script", script);
    service.node = "web-1";
    service.runtime_dir = dir / "run";
    shim.command = "/bin/sh '" + (dir / "script") + "' 'an argument'";
    shim.environment = {{"PATH", dir.path() + ":/usr/bin:/bin"}, {"D", dir.path()}};
    shim.settle = 200ms;
    shim.leftover_limit = 500ms;
    if (change) change(shim, service);
    process.emplace([this, watchdog_usec] {
      setenv("NOTIFY_SOCKET", manager.address().c_str(), 1);
      unsetenv("WATCHDOG_PID");
      if (watchdog_usec) setenv("WATCHDOG_USEC", std::to_string(watchdog_usec).c_str(), 1);
      const int log = open((dir / "stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
      dup2(log, STDERR_FILENO);
      dup2(log, STDOUT_FILENO);
      try {
        return stem::run_service(
            service, [&](stem::ServiceOutputs outputs) { return std::make_unique<Shim>(shim, outputs); });
      } catch (const Error& error) {
        std::ofstream(dir / "error") << error.what();
        return static_cast<int>(error.code());
      }
    });
  }
  /// Waits for a file that the script writes; its content, complete with a newline.
  std::string written(const std::string& name) {
    std::string text;
    eventually([&] { return (text = content_of(dir / name)).ends_with("\n"); });
    return text;
  }
  pid_t pid_in(const std::string& name) {
    const auto text = written(name);
    return text.empty() ? 0 : static_cast<pid_t>(std::stol(text));
  }
  bool ready() { return !manager.next_with("READY=1").empty(); }

  TempDir dir;
  NotifyListener manager;
  ShimSettings shim;
  ServiceSettings service;
  std::optional<ChildProcess> process;
};

/// Gone, or a zombie that its new parent has not reaped yet.
bool is_gone(pid_t pid) {
  const auto stat = content_of("/proc/" + std::to_string(pid) + "/stat");
  return stat.empty() || contains(stat, ") Z ") || contains(stat, ") X ");
}

}  // namespace

TEST_CASE(
    "shim: a program that knows nothing of systemd is ready once it has settled, and its status is passed "
    "on") {
  Shimmed shimmed(
      "echo \"$1 $STEM_TEST\" >$D/argument; echo $$ >$D/pid; trap 'exit 7' TERM; while :; do sleep 0.05; "
      "done",
      [](ShimSettings& shim, ServiceSettings&) { shim.environment["STEM_TEST"] = "x"; });
  CHECK(shimmed.written("argument") == "an argument x\n");
  CHECK(shimmed.manager.next_with("READY=1") == "READY=1\nSTATUS=sh runs");
  const auto health =
      stem::ask_worker(stem::control_socket_path(shimmed.service.runtime_dir, "web-1"), "health", 5s);
  CHECK(health["child"] == shimmed.pid_in("pid"));
  shimmed.process->signal(SIGTERM);
  CHECK(shimmed.process->wait() == 7);
  CHECK(is_gone(shimmed.pid_in("pid")));
}

TEST_CASE("shim: exit statuses and deaths by signal") {
  CHECK(Shimmed("exit 0").process->wait() == 0);
  CHECK(Shimmed("exit 42").process->wait() == 42);
  CHECK(Shimmed("kill -KILL $$").process->wait() == 137);
  Shimmed dies("exec sleep 1000");
  REQUIRE(dies.ready());
  dies.process->signal(SIGTERM);
  CHECK(dies.process->wait() == 143);
  // An end before it settled is no readiness.
  Shimmed early("exit 3", [](ShimSettings& shim, ServiceSettings&) { shim.settle = 5s; });
  CHECK(early.process->wait() == 3);
  for (auto message = early.manager.next(100); !message.empty(); message = early.manager.next(100))
    CHECK_FALSE(contains(message, "READY=1"));
}

TEST_CASE("shim: a command that cannot run is a configuration error with its reason") {
  const auto failure = [](const std::string& command, const std::string& script = "") {
    Shimmed shimmed(script, [&](ShimSettings& shim, ServiceSettings&) { shim.command = command; });
    CHECK(shimmed.process->wait() == 78);
    return content_of(shimmed.dir / "error");
  };
  CHECK(contains(failure("no-such-program x"), "`no-such-program`: no such program in PATH"));
  CHECK(contains(failure("/no/such/program"), "cannot run /no/such/program: No such file"));
  CHECK(contains(failure("/etc/passwd"), "cannot run /etc/passwd: Permission denied; make it executable"));
  CHECK(contains(failure("/bin/sh 'x"), "never closed"));
}

TEST_CASE("shim: signals are forwarded; SIGHUP only to a program that handles it") {
  Shimmed shimmed(
      "trap 'echo usr1 >$D/usr1' USR1; trap 'echo hup >$D/hup' HUP; trap 'echo int >$D/int; exit 0' INT; "
      "echo >$D/set\n"
      "while :; do sleep 0.05; done");
  REQUIRE(shimmed.ready());
  REQUIRE(!shimmed.written("set").empty());
  shimmed.process->signal(SIGUSR1);
  CHECK(shimmed.written("usr1") == "usr1\n");
  shimmed.process->signal(SIGHUP);
  CHECK(shimmed.written("hup") == "hup\n");
  CHECK(!shimmed.manager.next_with("RELOADING=1").empty());
  CHECK(shimmed.manager.next().starts_with("READY=1"));
  shimmed.process->signal(SIGINT);
  CHECK(shimmed.written("int") == "int\n");
  CHECK(shimmed.process->wait() == 0);

  Shimmed fragile("exec sleep 1000");
  REQUIRE(fragile.ready());
  fragile.process->signal(SIGHUP);
  CHECK(contains(fragile.manager.next_with("reload failed"), "sleep does not handle SIGHUP") == false);
  CHECK(fragile.process->wait(300) == -1);  // it lives
}

TEST_CASE("shim: a program that speaks for itself is heard, and not spoken for") {
  SUBCASE("readiness and status") {
    Shimmed shimmed("sleep 0.6; say STATUS=warming; sleep 0.6; say READY=1 STATUS=serving; sleep 1000",
                    [](ShimSettings& shim, ServiceSettings&) { shim.speaks = ShimSettings::Speaks::yes; });
    std::string message;
    bool warmed = false;
    while (!(message = shimmed.manager.next()).empty() && !message.starts_with("READY=1"))
      warmed |= contains(message, "STATUS=warming");
    CHECK(warmed);
    CHECK(message == "READY=1\nSTATUS=serving");
  }
  SUBCASE("automatic: whichever comes first") {
    Shimmed shimmed("say READY=1 STATUS=early; sleep 1000",
                    [](ShimSettings& shim, ServiceSettings&) { shim.settle = 30s; });
    CHECK(shimmed.manager.next_with("READY=1") == "READY=1\nSTATUS=early");
  }
  SUBCASE("no: it gets no socket") {
    Shimmed shimmed("echo \"<$NOTIFY_SOCKET>\" >$D/socket; sleep 1000",
                    [](ShimSettings& shim, ServiceSettings&) { shim.speaks = ShimSettings::Speaks::no; });
    CHECK(shimmed.written("socket") == "<>\n");
    CHECK(shimmed.ready());
  }
  SUBCASE("reload, stop and time are its own words; what only we may say is not passed on") {
    Shimmed shimmed(
        "say READY=1; sleep 0.3; say RELOADING=1 MONOTONIC_USEC=5; say MAINPID=1 EXTEND_TIMEOUT_USEC=7 "
        "FDSTORE=1; say READY=1 STATUS=again; sleep 1000");
    REQUIRE(shimmed.ready());
    CHECK(shimmed.manager.next_with("RELOADING=1") == "RELOADING=1\nMONOTONIC_USEC=5");
    CHECK(shimmed.manager.next() == "EXTEND_TIMEOUT_USEC=7");
    CHECK(shimmed.manager.next() == "READY=1");
  }
}

TEST_CASE("shim: the watchdog is fed for a program that cannot, and by one that can") {
  SUBCASE("it cannot") {
    Shimmed shimmed("echo $$ >$D/pid; sleep 1000", {}, 600'000);
    REQUIRE(shimmed.ready());
    for (int i = 0; i < 3; ++i) CHECK(!shimmed.manager.next_with("WATCHDOG=1").empty());
    // Stopped, it is stuck.
    kill(shimmed.pid_in("pid"), SIGSTOP);
    CHECK(!shimmed.manager.next_with("STATUS=stuck: sh is stopped").empty());
    while (shimmed.manager.next(400) == "WATCHDOG=1") {
    }
    CHECK(shimmed.manager.next_with("WATCHDOG=1", 1000).empty());
    kill(shimmed.pid_in("pid"), SIGCONT);
    CHECK(!shimmed.manager.next_with("WATCHDOG=1").empty());
  }
  SUBCASE("it can, and then falls silent") {
    Shimmed shimmed(
        "echo $WATCHDOG_USEC >$D/limit; say READY=1; for i in 1 2 3; do say WATCHDOG=1; sleep 0.1; done; "
        "echo >$D/silent; sleep 1000",
        {}, 600'000);
    REQUIRE(shimmed.ready());
    CHECK(shimmed.written("limit") == "600000\n");
    CHECK(!shimmed.manager.next_with("WATCHDOG=1").empty());
    REQUIRE(!shimmed.written("silent").empty());
    while (shimmed.manager.next(50) == "WATCHDOG=1") {
    }
    CHECK(shimmed.manager.next_with("WATCHDOG=1", 1500).empty());
  }
}

TEST_CASE("shim: nothing that the program started outlives it") {
  // A child, a grandchild in a session of its own whose parent is gone, and one that ignores SIGTERM.
  const std::string family =
      "sleep 1000 & echo $! >$D/child\n"
      "(setsid sh -c 'echo $$ >$D/orphan; exec sleep 1000' &)\n"
      "sh -c 'trap \"\" TERM; echo $$ >$D/stubborn; while :; do sleep 0.05; done' &\n"
      "echo $$ >$D/main\n";
  const auto pids = [](Shimmed& shimmed) {
    std::vector<pid_t> list;
    for (const char* name : {"child", "orphan", "stubborn", "main"}) list.push_back(shimmed.pid_in(name));
    for (const auto pid : list) REQUIRE(pid > 0);
    return list;
  };
  const auto all_gone = [](const std::vector<pid_t>& list) {
    return eventually([&] { return std::all_of(list.begin(), list.end(), is_gone); }, 5'000);
  };
  SUBCASE("stopped with SIGTERM") {
    Shimmed shimmed(family + "trap 'exit 0' TERM; while :; do sleep 0.05; done");
    const auto list = pids(shimmed);
    REQUIRE(shimmed.ready());
    shimmed.process->signal(SIGTERM);
    CHECK(shimmed.process->wait() == 0);
    for (const auto pid : list) CHECK(is_gone(pid));  // all, before the service has ended
  }
  SUBCASE("ended by itself") {
    Shimmed shimmed(family + "until [ -s $D/orphan ] && [ -s $D/stubborn ]; do sleep 0.02; done; exit 5");
    const auto list = pids(shimmed);
    CHECK(shimmed.process->wait() == 5);
    for (const auto pid : list) CHECK(is_gone(pid));
  }
  SUBCASE("stopped hard") {
    Shimmed shimmed(family + "trap '' TERM; while :; do sleep 0.05; done");
    const auto list = pids(shimmed);
    REQUIRE(shimmed.ready());
    shimmed.process->signal(SIGQUIT);
    CHECK(shimmed.process->wait() == 137);
    for (const auto pid : list) CHECK(is_gone(pid));
  }
  SUBCASE("the shim is killed") {
    Shimmed shimmed(family + "while :; do sleep 0.05; done");
    const auto list = pids(shimmed);
    shimmed.process->signal(SIGKILL);
    CHECK(shimmed.process->wait() == 137);
    CHECK(all_gone(list));
  }
  SUBCASE("the keeper is killed") {
    Shimmed shimmed(family + "while :; do sleep 0.05; done");
    const auto list = pids(shimmed);
    const auto stat = content_of("/proc/" + std::to_string(list.back()) + "/stat");
    const auto keeper = static_cast<pid_t>(std::stol(stat.substr(stat.rfind(") ") + 4)));
    REQUIRE(keeper != shimmed.process->pid());
    kill(keeper, SIGKILL);
    CHECK(shimmed.process->wait() == 137);
    for (const auto pid : list) CHECK(is_gone(pid));
    CHECK(contains(content_of(shimmed.dir / "stderr"), "the keeper of sh was killed"));
  }
}

TEST_CASE("shim: the program's output goes into the log file, which can rotate") {
  Shimmed shimmed("echo one; while ! [ -e $D/go ]; do sleep 0.02; done; echo two >&2; printf three; exit 0",
                  [](ShimSettings&, ServiceSettings& service) {
                    service.logfile = service.runtime_dir + "/../web-1.log";
                  });
  const auto path = shimmed.dir / "web-1.log";
  CHECK(eventually(
      [&] { return contains(content_of(path), "\none\n") || content_of(path).starts_with("one\n"); }));
  std::filesystem::rename(path, path + ".1");
  shimmed.process->signal(SIGHUP);
  CHECK(eventually([&] { return std::filesystem::exists(path); }));
  shimmed.dir.file("go", "");
  CHECK(shimmed.process->wait() == 0);
  CHECK(contains(content_of(path), "two\n"));
  CHECK(contains(content_of(path), "three\n"));
}

TEST_CASE("shim: the program inherits no descriptor and no foreign environment") {
  stem::Config config;
  config.node = "web-1";
  config.command = "x --queues=a,b";
  config.queues = {"a", "b"};
  config.command_notify = "yes";
  ServiceSettings service;
  service.node = "web-1";
  service.pidfile = "/run/x.pid";
  const auto settings = ShimSettings::from(config, service,
                                           {{"NOTIFY_SOCKET", "/x"},
                                            {"WATCHDOG_USEC", "1"},
                                            {"STEM_WORKER_COMMAND", "x"},
                                            {"STEM_WORKER_LOGFILE", "/template/%n"},
                                            {"STEM_DEFAULT_QUEUE", "d"},
                                            {"HOME", "/"}});
  CHECK(settings.speaks == ShimSettings::Speaks::yes);
  const auto& program = settings.environment;
  CHECK(program.at("STEM_WORKER_NODE") == "web-1");
  CHECK(program.at("STEM_WORKER_QUEUES") == "a,b");
  CHECK(program.at("STEM_WORKER_PIDFILE") == "/run/x.pid");
  CHECK(program.at("STEM_WORKER_INDEX") == "1");
  CHECK(!program.at("STEM_WORKER_HOST").empty());
  CHECK(program.at("STEM_DEFAULT_QUEUE") == "d");
  CHECK(program.at("HOME") == "/");
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "STEM_WORKER_COMMAND", "STEM_WORKER_LOGFILE"})
    CHECK(!program.contains(name));
  config.command = "'";
  CHECK_THROWS_AS(ShimSettings::from(config, service, {}), Error);

  Shimmed shimmed("exec ls /proc/self/fd >$D/list");
  CHECK(shimmed.process->wait() == 0);
  std::istringstream list(content_of(shimmed.dir / "list"));
  for (int fd; list >> fd;) {
    CAPTURE(list.str());
    CHECK(fd <= 3);  // 3: the directory that ls reads
  }
}
