#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include <algorithm>
#include <memory>

#include "child_process.hpp"
#include "diagnosis/diagnosis.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/pidfile.hpp"
#include "temp_dir.hpp"

/// A process that holds a pidfile and answers at a control socket, as a worker does.
class StandIn {
 public:
  StandIn(const std::string& pidfile, const std::string& socket)
      : process_([&] {
          stem::Pidfile held(pidfile);
          held.write();
          sd_event* loop = nullptr;
          sd_event_new(&loop);
          const stem::ControlSocket answers(loop, socket, [](const std::string&, const stem::Json&) {
            return stem::Json{{"pid", getpid()}};
          });
          return sd_event_loop(loop);
        }) {
    REQUIRE(eventually([&] {
      try {
        return stem::ask_worker(socket, "health")["pid"] == process_.pid();
      } catch (const stem::Error&) {
        return false;
      }
    }));
  }
  pid_t pid() const { return process_.pid(); }
  ChildProcess& process() { return process_; }

 private:
  ChildProcess process_;
};

/// A node in perfect health, under a systemd that exists on paper only; everything else is real: files,
/// processes, a socket, a queue. A test breaks one thing of it.
struct Rig {
  TempDir dir;
  stem::Subject s;
  std::unique_ptr<StandIn> worker;

  Rig() {
    for (const char* name : {"run", "state", "log", "etc", "var", "var/log", "var/log/journal", "usr",
                             "usr/lib", "usr/lib/systemd", "usr/lib/systemd/system"})
      std::filesystem::create_directory(dir / name);
    chmod(dir.path().c_str(), 0755);
    worker = std::make_unique<StandIn>(dir / "run/web-1.pid", dir / "run/web-1.sock");
    s.node = "web-1";
    s.root = dir.path();
    s.scope = stem::Scope::system;
    s.systemd_booted = true;
    s.account = stem::Account::self();
    s.user = s.account->name;
    s.program = std::filesystem::read_symlink("/proc/self/exe");
    s.runtime_dir = dir / "run";
    s.state_dir = dir / "state";
    s.workdir = s.state_dir;
    s.pidfile = dir / "run/web-1.pid";
    s.env_files = {{dir.file("etc/stem.env", "STEM_WORKER_COMMAND=/bin/true\n"), true}};
    chmod(s.env_files[0].path.c_str(), 0640);
    s.config = stem::Config{};
    s.config->command = "/bin/true";
    s.config->broker_url = "sqlite://" + (dir / "state/stem.db");
    s.config->pidfile = s.pidfile;
    s.now = stem::Clock::system().wall();
    s.health.ok = true;
    s.health.node = "web-1";
    s.health.pid = worker->pid();
    s.health.pidfile = s.pidfile;
    s.health.since =
        s.now + std::chrono::hours{1};  // younger than every file, whatever the file system's clock

    s.unit.emplace();
    auto& unit = *s.unit;
    unit.facts.unit = "stem-worker@web-1.service";
    unit.facts.load_state = "loaded";
    unit.facts.active_state = "active";
    unit.facts.sub_state = "running";
    unit.facts.main_pid = worker->pid();
    unit.facts.watchdog_limit = std::chrono::seconds{60};
    unit.facts.watchdog_age = std::chrono::seconds{1};
    unit.fragment = dir.file("usr/lib/systemd/system/stem-worker@.service", "");
    unit.file_state = "enabled";
    unit.type = "notify";
    unit.notify_access = "main";
    unit.restart = "on-failure";
    unit.kill_mode = "process";
    unit.restart_prevented_by = {64, 66, 78};
    unit.runtime_directories = {"stem"};
    unit.runtime_directory_preserve = "yes";
    unit.standard_output = "journal";
    unit.pidfile = s.pidfile;
    unit.open_files = 65536;
    unit.restart_delay = std::chrono::seconds{5};
    unit.start_limit_interval = std::chrono::seconds{120};
    unit.start_limit_burst = 5;
    unit.exec_start = {s.program, "worker", "start"};
    s.twin.emplace();
    s.twin->facts.load_state = "not-found";
  }

  /// As if the worker had not been started.
  void stop() {
    worker.reset();
    s.health.pid = 0;
    s.health.ok = false;
    s.health.error = "node web-1 does not run";
    s.unit->facts.active_state = "inactive";
    s.unit->facts.sub_state = "dead";
    s.unit->facts.main_pid = 0;
  }
  void without_systemd() {
    s.scope.reset();
    s.unit.reset();
    s.twin.reset();
    s.systemd_booted = false;
  }

  stem::Finding of(const std::string& id) const {
    for (const auto& one : stem::diagnose(s).results)
      if (one.check->id == id) return one.finding;
    FAIL("no check " << id);
    return {};
  }
  /// The checks that are not fine, with blanks between. Whoever tests as root has a worker that runs as root:
  /// that is left out.
  std::string complaints() const {
    std::string ids;
    for (const auto& one : stem::diagnose(s).results) {
      if (one.finding.severity == stem::Severity::ok ||
          one.finding.text.starts_with("the worker runs as root"))
        continue;
      ids += (ids.empty() ? "" : " ") + std::string(one.check->id);
    }
    return ids;
  }
};

/// `id` complains, as it should, and no other check does.
inline void only(const Rig& rig, const std::string& id, stem::Severity severity, const std::string& text,
                 const std::string& fix = {}) {
  CAPTURE(id);
  CHECK(rig.complaints() == id);
  const auto finding = rig.of(id);
  CAPTURE(finding.text);
  CHECK(finding.severity == severity);
  CHECK(finding.text.find(text) != std::string::npos);
  CHECK_FALSE(finding.fix.empty());
  CAPTURE(finding.fix);
  CHECK(finding.fix.find(fix) != std::string::npos);
}
