#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <stem/error.hpp>

#include "child_process.hpp"
#include "core/descriptor.hpp"
#include "notify_listener.hpp"
#include "refusal.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/daemon.hpp"
#include "service/pidfile.hpp"

using namespace std::chrono_literals;
using stem::Error;
using stem::Exit;
using stem::ServiceSettings;
using stem::StopMode;

namespace {

/// What a workload in another process does, steered from the test, in memory that both share.
struct Script {
  std::atomic<bool> ready, stuck, ends_when_stopped, reload_fails;
  std::atomic<int> busy, drained, status_number, finished;  // finished: exit status + 1
  std::atomic<int> warm, soft, hard, reloads, last_signal;
  std::atomic<int> told;  // how it was told to stop by its own ways + 1
};

class ScriptedWorkload : public stem::Workload {
 public:
  ScriptedWorkload(Script& script, int event) : script_(script), event_(event) {}
  void start() override {}
  int event_fd() const override { return event_; }
  void clear_event() override {
    eventfd_t count;
    eventfd_read(event_, &count);
  }
  stem::Vitals vitals() const override {
    stem::Vitals vitals;
    vitals.ready = script_.ready;
    vitals.status = "status " + std::to_string(script_.status_number);
    if (script_.stuck) vitals.stuck = {"executor 1 hangs in mail.send"};
    vitals.busy = script_.busy;
    vitals.drained = static_cast<std::uint64_t>(script_.drained);
    vitals.queues = {"default", "mail"};
    vitals.concurrency = 8;
    vitals.broker_connected = true;
    vitals.broker_age = 20ms;
    return vitals;
  }
  std::optional<int> finished() const override {
    return script_.finished ? std::optional<int>(script_.finished - 1) : std::nullopt;
  }
  std::optional<StopMode> told_to_stop() const override {
    return script_.told ? std::optional(static_cast<StopMode>(script_.told - 1)) : std::nullopt;
  }
  void stop(StopMode mode) override {
    ++(mode == StopMode::warm ? script_.warm : mode == StopMode::soft ? script_.soft : script_.hard);
    if (script_.ends_when_stopped) script_.finished = 1;
  }
  void reload() override {
    ++script_.reloads;
    if (script_.reload_fails) throw Error(Exit::config, "no such queue");
  }
  void signal(int number) override { script_.last_signal = number; }

 private:
  Script& script_;
  int event_;
};

/// A service in a process of its own, with a manager that listens.
class Daemon {
 public:
  explicit Daemon(const std::function<void(ServiceSettings&)>& change = {}, std::int64_t watchdog_usec = 0) {
    settings.node = "web-1";
    settings.runtime_dir = dir / "run";
    settings.pidfile = dir / "pids/web-1.pid";
    settings.logfile = dir / "log/web-1.log";
    if (change) change(settings);
    script = static_cast<Script*>(
        mmap(nullptr, sizeof(Script), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    script->ends_when_stopped = true;
    event = stem::Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    process.emplace([this, watchdog_usec] {
      setenv("NOTIFY_SOCKET", manager.address().c_str(), 1);
      unsetenv("WATCHDOG_PID");
      if (watchdog_usec)
        setenv("WATCHDOG_USEC", std::to_string(watchdog_usec).c_str(), 1);
      else
        unsetenv("WATCHDOG_USEC");
      try {
        return stem::run_service(settings, [&](stem::ServiceOutputs) {
          return std::make_unique<ScriptedWorkload>(*script, event.get());
        });
      } catch (const Error& error) {
        return static_cast<int>(error.code());
      }
    });
  }
  ~Daemon() {
    process.reset();
    munmap(script, sizeof(Script));
  }

  void wake() { eventfd_write(event.get(), 1); }
  void become_ready() {
    script->ready = true;
    wake();
    REQUIRE(!manager.next_with("READY=1").empty());
  }
  std::string socket() const { return stem::control_socket_path(settings.runtime_dir, settings.node); }
  stem::Json health() const { return stem::ask_worker(socket(), "health", 5s); }
  std::string log() const { return content_of(settings.logfile); }

  TempDir dir;
  ServiceSettings settings;
  NotifyListener manager;
  Script* script = nullptr;
  stem::Descriptor event;
  std::optional<ChildProcess> process;
};

}  // namespace

TEST_CASE("daemon: from start to end, as a service manager sees it") {
  Daemon daemon;
  // Not ready yet: more time is asked for, the status says why, READY=1 is not sent.
  CHECK(daemon.manager.next() == "EXTEND_TIMEOUT_USEC=15000000");
  CHECK(daemon.manager.next() == "STATUS=status 0");
  CHECK(eventually(
      [&] { return stem::read_pidfile(daemon.settings.pidfile).kind == stem::PidfileState::Kind::live; }));
  CHECK(daemon.health()["state"] == "starting");

  daemon.script->status_number = 1;
  daemon.script->ready = true;
  daemon.wake();
  CHECK(daemon.manager.next() == "READY=1\nSTATUS=status 1");
  const auto pid = daemon.process->pid();
  CHECK(content_of(daemon.settings.pidfile) == std::to_string(pid) + "\n");

  const auto health = daemon.health();
  CHECK(health["v"] == 1);
  CHECK(health["node"] == "web-1");
  CHECK(health["pid"] == pid);
  CHECK(health["state"] == "running");
  CHECK(health["ready"] == true);
  CHECK(health["statusText"] == "status 1");
  CHECK(health["queues"] == stem::Json{"default", "mail"});
  CHECK(health["concurrency"] == 8);
  CHECK(health["broker"] == stem::Json{{"connected", true}, {"ageMs", 20}});
  CHECK(health["watchdog"] == stem::Json{{"enabled", false}, {"limitMs", nullptr}, {"ageMs", nullptr}});
  CHECK(health["pidfile"] == daemon.settings.pidfile);
  CHECK(health["logfile"] == daemon.settings.logfile);
  CHECK(health["uptimeSeconds"].is_number_integer());
  CHECK(health["since"].get<std::string>().ends_with("Z"));
  CHECK(health["stuck"].empty());

  daemon.process->signal(SIGUSR1);
  CHECK(eventually([&] { return daemon.script->last_signal == SIGUSR1; }));

  daemon.process->signal(SIGTERM);
  CHECK(contains(daemon.manager.next_with("STOPPING=1"),
                 "EXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping · status 1"));
  CHECK(daemon.manager.next_with("EXIT_STATUS=").starts_with("EXIT_STATUS=0\n"));
  CHECK(daemon.process->wait() == 0);
  CHECK(daemon.script->warm == 1);
  CHECK_FALSE(std::filesystem::exists(daemon.settings.pidfile));
  CHECK(std::filesystem::is_empty(daemon.settings.runtime_dir));
  CHECK(contains(daemon.log(), "info    web-1 ready: status 1"));
  CHECK(contains(daemon.log(), "stopping (SIGTERM): finishing what runs"));
}

TEST_CASE("daemon: each signal has its way to stop, and the impatient get a harder one") {
  for (const auto& [number, count] :
       {std::pair{SIGTERM, &Script::warm}, {SIGINT, &Script::soft}, {SIGQUIT, &Script::hard}}) {
    Daemon daemon;
    daemon.become_ready();
    daemon.process->signal(number);
    CHECK(daemon.process->wait() == 0);
    CHECK(daemon.script->*count == 1);
    CHECK(daemon.script->warm + daemon.script->soft + daemon.script->hard == 1);
  }
  Daemon daemon;
  daemon.script->ends_when_stopped = false;
  daemon.become_ready();
  daemon.process->signal(SIGTERM);
  REQUIRE(eventually([&] { return daemon.script->warm == 1; }));
  daemon.process->signal(SIGTERM);
  REQUIRE(eventually([&] { return daemon.script->soft == 1; }));
  daemon.process->signal(SIGTERM);
  REQUIRE(eventually([&] { return daemon.script->hard == 1; }));
  daemon.process->signal(SIGTERM);  // there is nothing harder
  daemon.script->finished = 1;
  daemon.wake();
  CHECK(daemon.process->wait() == 0);
  CHECK(daemon.script->hard == 1);
}

TEST_CASE(
    "daemon: a workload that was told to stop ends the service, once for each mode, with time to drain") {
  Daemon daemon;
  daemon.script->ends_when_stopped = false;
  daemon.become_ready();
  daemon.script->told = 1 + static_cast<int>(StopMode::warm);
  daemon.wake();
  CHECK(contains(daemon.manager.next_with("STOPPING=1"), "EXTEND_TIMEOUT_USEC=15000000"));
  CHECK(daemon.script->warm == 1);
  daemon.wake();
  daemon.script->status_number = 5;
  daemon.wake();
  CHECK(!daemon.manager.next_with("status 5").empty());
  CHECK(daemon.script->warm == 1);
  CHECK(daemon.script->soft == 0);
  daemon.script->told = 1 + static_cast<int>(StopMode::hard);
  daemon.wake();
  CHECK(eventually([&] { return daemon.script->hard == 1; }));
  daemon.script->finished = 1;
  daemon.wake();
  CHECK(daemon.process->wait() == 0);
  CHECK(contains(daemon.log(), "told to through the broker"));
}

TEST_CASE("daemon: a stop that takes too long becomes hard, and a hard one ends in any case") {
  Daemon daemon([](ServiceSettings& settings) {
    settings.drain_limit = 300ms;
    settings.hard_limit = 300ms;
  });
  daemon.script->ends_when_stopped = false;
  daemon.script->busy = 1;
  daemon.become_ready();
  daemon.process->signal(SIGTERM);
  CHECK(contains(daemon.manager.next_with("EXIT_STATUS="),
                 "EXIT_STATUS=70\nERRNO=" + std::to_string(ETIMEDOUT)));
  CHECK(daemon.process->wait() == 70);
  CHECK(daemon.script->hard == 1);
  CHECK_FALSE(std::filesystem::exists(daemon.settings.pidfile));
  CHECK(std::filesystem::is_empty(daemon.settings.runtime_dir));
  CHECK(contains(daemon.log(), "warning web-1 not done in time"));
  CHECK(contains(daemon.log(), "critical web-1 what runs did not end within 300ms"));
}

TEST_CASE("daemon: while draining, more time is asked for only on progress") {
  Daemon idle, busy, done;
  for (auto* daemon : {&idle, &busy, &done}) {
    daemon->script->ends_when_stopped = false;
    daemon->become_ready();
  }
  busy.script->busy = 1;
  for (auto* daemon : {&idle, &busy, &done}) daemon->process->signal(SIGTERM);
  for (auto* daemon : {&idle, &busy, &done}) CHECK(!daemon->manager.next_with("STOPPING=1").empty());
  done.script->drained = 3;
  const auto again = [](Daemon& daemon, int timeout_ms) {
    return contains(daemon.manager.next_with("EXTEND_TIMEOUT_USEC=", timeout_ms),
                    "EXTEND_TIMEOUT_USEC=15000000");
  };
  CHECK(again(busy, 8000));
  CHECK(again(done, 1500));
  CHECK_FALSE(again(idle, 1500));
}

TEST_CASE("daemon: a handler that hangs past its limit is no progress to ask time for") {
  Daemon daemon;
  daemon.script->ends_when_stopped = false;
  daemon.script->busy = 1;
  daemon.become_ready();
  daemon.script->stuck = true;
  daemon.process->signal(SIGTERM);
  CHECK(!daemon.manager.next_with("STOPPING=1").empty());
  CHECK(daemon.manager.next_with("EXTEND_TIMEOUT_USEC=", 6500).empty());
}

TEST_CASE("daemon: the watchdog is fed while all parts make progress, and only then") {
  Daemon daemon({}, 600'000);
  daemon.become_ready();
  for (int i = 0; i < 4; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    CHECK(!daemon.manager.next_with("WATCHDOG=1").empty());
    CHECK(std::chrono::steady_clock::now() - begun < 500ms);
  }
  const auto health = daemon.health();
  CHECK(health["watchdog"]["enabled"] == true);
  CHECK(health["watchdog"]["limitMs"] == 600);
  CHECK(health["watchdog"]["ageMs"] < 600);

  daemon.script->stuck = true;
  CHECK(!daemon.manager.next_with("STATUS=stuck: executor 1 hangs in mail.send").empty());
  while (daemon.manager.next(400) == "WATCHDOG=1") {
  }
  CHECK(daemon.manager.next_with("WATCHDOG=1", 1000).empty());
  CHECK(daemon.health()["stuck"][0] == "executor 1 hangs in mail.send");
  CHECK(daemon.health()["watchdog"]["ageMs"] > 600);
  daemon.script->stuck = false;
  CHECK(!daemon.manager.next_with("WATCHDOG=1").empty());
  const auto log = daemon.log();
  const auto first = log.find("no progress: executor 1 hangs in mail.send; the watchdog is not fed any more");
  CHECK(first != std::string::npos);
  CHECK(log.find("no progress", first + 1) == std::string::npos);  // once
  CHECK(contains(log, "all parts make progress again"));
  const auto page = [&] { return stem::ask_worker(daemon.socket(), "metrics", 5s).dump(); };
  CHECK(contains(page(), "watchdog.age"));
  CHECK(contains(page(), "watchdog.limit"));

  daemon.script->ends_when_stopped = false;
  daemon.process->signal(SIGTERM);
  CHECK(!daemon.manager.next_with("STOPPING=1").empty());
  CHECK(contains(page(), "watchdog.pings"));
  CHECK_FALSE(contains(page(), "watchdog.age"));
  CHECK_FALSE(contains(page(), "watchdog.limit"));
  CHECK(daemon.manager.next_with("WATCHDOG=1", 1000).empty());  // the manager does not listen for it any more
}

TEST_CASE(
    "daemon: SIGHUP reloads between RELOADING=1 and READY=1, also when the new configuration is refused") {
  Daemon daemon;
  daemon.become_ready();
  std::filesystem::rename(daemon.settings.logfile, daemon.settings.logfile + ".1");
  daemon.process->signal(SIGHUP);
  CHECK(daemon.manager.next_with("RELOADING=1").starts_with("RELOADING=1\nMONOTONIC_USEC="));
  CHECK(daemon.manager.next().starts_with("READY=1\nSTATUS=status 0"));
  CHECK(daemon.script->reloads == 1);
  CHECK(contains(daemon.log(), "reloaded"));  // in the new file
  CHECK(daemon.health()["reload"] == stem::Json{{"count", 1}, {"error", nullptr}, {"exitStatus", 0}});

  daemon.script->reload_fails = true;
  daemon.process->signal(SIGHUP);
  CHECK(!daemon.manager.next_with("RELOADING=1").empty());
  CHECK(daemon.manager.next() == "READY=1\nSTATUS=reload failed: no such queue");
  CHECK(contains(daemon.log(), "error   web-1 reload failed, what was in force stays: no such queue"));
  CHECK(daemon.health()["state"] == "running");
  CHECK(daemon.health()["reload"] ==
        stem::Json{{"count", 2}, {"error", "no such queue"}, {"exitStatus", 78}});
}

TEST_CASE("daemon: a start that never becomes ready has an end") {
  Daemon daemon([](ServiceSettings& settings) { settings.start_limit = 300ms; });
  CHECK(daemon.manager.next_with("EXIT_STATUS=").starts_with("EXIT_STATUS=69\nERRNO="));
  CHECK(daemon.process->wait() == 69);
  CHECK(contains(daemon.log(), "not ready within 300ms: status 0"));
  CHECK(daemon.script->hard == 1);
}

TEST_CASE("daemon: the exit status of a workload that ends by itself is passed on") {
  for (const int status : {0, 3, 78}) {
    Daemon daemon;
    daemon.become_ready();
    daemon.script->finished = status + 1;
    daemon.wake();
    CHECK(
        daemon.manager.next_with("EXIT_STATUS=").starts_with("EXIT_STATUS=" + std::to_string(status) + "\n"));
    CHECK(daemon.process->wait() == status);
  }
}

TEST_CASE("daemon: what is wrong before the work begins goes to the manager and to the caller") {
  Daemon daemon([](ServiceSettings& settings) { settings.log_level = "loud"; });
  CHECK(daemon.manager.next().starts_with("EXIT_STATUS=78\nERRNO=22\nSTATUS=unknown log level `loud`"));
  CHECK(daemon.process->wait() == 78);
}

TEST_CASE("daemon: one worker a node, with a pidfile or without") {
  Daemon first([](ServiceSettings& settings) { settings.pidfile.clear(); });
  first.become_ready();
  Daemon second([&](ServiceSettings& settings) {
    settings.pidfile.clear();
    settings.runtime_dir = first.settings.runtime_dir;
  });
  CHECK(second.process->wait() == 75);
  CHECK(contains(second.manager.next(),
                 "node web-1 runs already (pid " + std::to_string(first.process->pid()) + ","));
  CHECK(first.health()["pid"] == first.process->pid());
  Daemon neighbour([&](ServiceSettings& settings) {
    settings.node = "web-2";
    settings.runtime_dir = first.settings.runtime_dir;
  });
  neighbour.become_ready();
  CHECK(neighbour.health()["node"] == "web-2");
  first.process->signal(SIGKILL);
  first.process->wait();
  Daemon third([&](ServiceSettings& settings) { settings.runtime_dir = first.settings.runtime_dir; });
  third.become_ready();  // what a killed worker leaves behind is no obstacle
  CHECK(third.health()["pid"] == third.process->pid());
}

TEST_CASE("daemon: an idle worker sleeps") {
  Daemon daemon({}, 60'000'000);
  daemon.become_ready();
  CHECK(!daemon.manager.next_with("WATCHDOG=1").empty());
  const auto switches = [&] {
    const auto status = content_of("/proc/" + std::to_string(daemon.process->pid()) + "/status");
    return std::stol(status.substr(status.find("\nvoluntary_ctxt_switches:") + 25));
  };
  usleep(1'500'000);  // what the start brought with it
  const auto before = switches();
  usleep(3'000'000);
  CHECK(switches() - before <= 1);
  // And wakes at once for what matters.
  daemon.script->busy = 1;
  daemon.script->status_number = 5;
  daemon.wake();
  CHECK(daemon.manager.next_with("STATUS=status 5", 3000) == "STATUS=status 5");
}

TEST_CASE("daemon: settings from the configuration") {
  stem::Config config;
  config.node = "web-1";
  config.pidfile = "/run/x/%n%I.pid";
  config.logfile = "logs/%n.log";
  config.runtime_dir = "/run/x/../y";
  const auto settings = ServiceSettings::from(config, {});
  CHECK(settings.node == "web-1");
  CHECK(settings.pidfile == "/run/x/web-1.pid");
  CHECK(settings.logfile == std::filesystem::current_path().string() + "/logs/web-1.log");
  CHECK(settings.runtime_dir == "/run/y");
  config.pidfile = "%q";
  CHECK_THROWS_AS(ServiceSettings::from(config, {}), Error);
  config = {};
  config.runtime_dir = "/r";
  CHECK(ServiceSettings::from(config, {}).node == "worker");
}
