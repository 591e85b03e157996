// Checks of systemd's units. What systemd says is written down here by hand; tests/system/test_diagnose.py
// has the real one say it.

#include <functional>

#include "diagnosis_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;
using enum Severity;

TEST_CASE("diagnosis: a healthy node has no complaint, and at least 25 things were looked at") {
  Rig rig;
  CHECK(rig.complaints() == "");
  const auto diagnosis = diagnose(rig.s);
  CHECK(diagnosis.count(ok) >= 25);
  CHECK(all_checks().size() >= 40);
}

TEST_CASE("diagnosis: each mistake of a unit is found by its own check, with a fix") {
  struct Case {
    const char* id;
    Severity severity;
    const char* text;
    const char* fix;
    std::function<void(UnitSheet&)> spoil;
  };
  const std::vector<Case> cases{
      {"unit-masked", error, "masked", "systemctl unmask stem-worker@web-1.service",
       [](auto& u) { u.file_state = "masked-runtime"; }},
      {"daemon-reload", warning, "have changed", "systemctl daemon-reload",
       [](auto& u) { u.needs_reload = true; }},
      {"unit-state", warning, "not ready yet: waits for the broker", "journalctl",
       [](auto& u) { u.facts.active_state = "activating", u.facts.status_text = "waits for the broker"; }},
      {"unit-state", error, "start it again: exit-code 69", "journalctl",
       [](auto& u) {
         u.facts.sub_state = "auto-restart", u.facts.result = "exit-code", u.facts.exit_status = 69;
       }},
      {"unit-state", error, "failed: exit-code 78 (configuration)", "stem worker multi start web-1",
       [](auto& u) {
         u.facts.active_state = "failed", u.facts.result = "exit-code", u.facts.exit_status = 78;
       }},
      {"unit-state", warning, "stops", "wait", [](auto& u) { u.facts.active_state = "deactivating"; }},
      {"start-limit", warning, "no start limit", "StartLimitIntervalSec",
       [](auto& u) { u.start_limit_interval = 0s; }},
      {"start-limit", warning, "never reached: 5 starts, 5s apart, do not fit into 10s",
       "StartLimitIntervalSec", [](auto& u) { u.start_limit_interval = 10s; }},
      {"boot", warning, "not started when the machine boots (disabled)", "systemctl enable",
       [](auto& u) { u.file_state = "disabled"; }},
      {"readiness", error, "Type=simple", "Type=notify", [](auto& u) { u.type = "simple"; }},
      {"readiness", error, "NotifyAccess=none", "NotifyAccess=main",
       [](auto& u) { u.notify_access = "none"; }},
      {"restart-policy", warning, "Restart=no", "Restart=on-failure", [](auto& u) { u.restart = "no"; }},
      {"restart-policy", warning, "lacks 78", "64 66 78",
       [](auto& u) {
         u.restart_prevented_by = {64, 66};
       }},
      {"watchdog", warning, "no watchdog", "WatchdogSec=60", [](auto& u) { u.facts.watchdog_limit = 0s; }},
      {"watchdog", warning, "WatchdogSec= is 2s", "WatchdogSec=60",
       [](auto& u) { u.facts.watchdog_limit = 2s, u.facts.watchdog_age = 0s; }},
      {"watchdog", warning, "no sign of progress for 50s of the 1m", "handler",
       [](auto& u) { u.facts.watchdog_age = 50s; }},
      {"watchdog", error, "no sign of progress for 1m1s, and systemd allows 1m", "stuck",
       [](auto& u) { u.facts.watchdog_age = 61s; }},
      {"runtime-preserve", error, "RuntimeDirectoryPreserve=no", "RuntimeDirectoryPreserve=yes",
       [](auto& u) { u.runtime_directory_preserve = "no"; }},
      {"unit-pidfile", warning, "PIDFile=/run/else.pid, but the worker writes",
       "PIDFile=", [](auto& u) { u.pidfile = "/run/else.pid"; }},
      {"standard-output", warning, "belongs to root and cannot be rotated", "STEM_WORKER_LOGFILE",
       [](auto& u) { u.standard_output = "append"; }},
      {"restarts", warning, "restarted the worker 3 times", "journalctl -x",
       [](auto& u) { u.facts.restarts = 3; }},
      {"journal", warning, "nothing of the node", "",
       [](auto& u) { u.facts.invocation = "0123456789abcdef0123456789abcdef"; }},
      {"credentials", error, "243/CREDENTIALS", "LoadCredential=stem.broker-url",
       [](auto& u) {
         u.credentials = {{"stem.broker-url", "/nowhere/at/all", false}};
       }},
      {"secret-exposure", error, "STEM_BROKER_URL is set with a secret by Environment=", "credential",
       [](auto& u) { u.environment = {"STEM_BROKER_URL=redis://app:hunter2@cache/0"}; }},
      {"secret-exposure", error, "a command line of the unit holds a password", "credential",
       [](auto& u) { u.exec_start.push_back("--url=redis://app:hunter2@cache/0"); }},
  };
  for (const auto& one : cases) {
    Rig rig;
    one.spoil(*rig.s.unit);
    only(rig, one.id, one.severity, one.text, one.fix);
  }
}

TEST_CASE("diagnosis: a unit that failed too often is told of with its state") {
  Rig rig;
  rig.s.unit->facts.active_state = "failed";
  rig.s.unit->facts.result = "start-limit-hit";
  CHECK(rig.complaints() == "unit-state start-limit");
  CHECK(rig.of("start-limit").text == "failed 5 times within 2m, so systemd leaves it alone");
}

TEST_CASE("diagnosis: a condition that did not hold is an error, though systemd calls the job done") {
  Rig rig;
  rig.stop();
  rig.s.unit->conditions_met = false;
  CHECK(rig.complaints() == "unit-state worker pidfile");
}

TEST_CASE("diagnosis: a unit that is missing or cannot be loaded hides the rest of it") {
  Rig rig;
  rig.stop();
  std::filesystem::remove(rig.s.pidfile);
  rig.s.unit->facts.load_state = "not-found";
  CHECK(rig.complaints() == "unit-file worker");
  CHECK(rig.of("unit-file").text.find("not installed") != std::string::npos);
  rig.s.unit->facts.load_state = "bad-setting";
  rig.s.unit->load_error = "Unit stem-worker@web-1.service has a bad unit file setting.";
  CHECK(rig.of("unit-file").text.find("bad unit file setting") != std::string::npos);
}

TEST_CASE("diagnosis: a manager that does not answer is an error") {
  Rig rig;
  rig.s.unit.reset();
  rig.s.twin.reset();
  rig.s.manager_error = "cannot ask the system service manager: Connection refused; is systemd running here?";
  only(rig, "systemd", error, "Connection refused", "--supervisor start-stop-daemon");
}

TEST_CASE("diagnosis: a copy of the unit in /etc hides the installed one") {
  Rig rig;
  rig.s.unit->fragment = rig.dir.file("etc/stem-worker@.service", "[Service]\n");
  only(rig, "unit-override", warning, "hides the installed", "systemctl edit stem-worker@.service");
}

TEST_CASE("diagnosis: drop-ins are listed, and one that others can write is an error") {
  if (getuid() != 0) return;  // ours could be written by us
  Rig rig;
  const auto path = rig.dir.file("etc/mine.conf", "[Service]\n");
  rig.s.unit->drop_ins = {path};
  CHECK(rig.complaints() == "");
  CHECK(rig.of("drop-ins").text == path);
  chmod(path.c_str(), 0666);
  only(rig, "drop-ins", error, "can be written by others than root", "chmod 0644");
}

TEST_CASE("diagnosis: an init script beside the units is found") {
  Rig rig;
  rig.s.twin->facts.load_state = "loaded";
  rig.s.twin->source = "/etc/init.d/stem-worker";
  only(rig, "sysv-twin", warning, "/etc/init.d/stem-worker is installed beside the units",
       "systemctl mask stem-worker.service");
  rig.s.twin->facts.active_state = "active";
  only(rig, "sysv-twin", error, "it is active");
}

TEST_CASE("diagnosis: a person's worker needs lingering to outlive the session") {
  Rig rig;
  rig.s.scope = Scope::user;
  rig.s.twin.reset();
  rig.s.lingers = true;
  rig.s.unit->fragment = rig.dir.file("etc/own.service", "");
  CHECK(rig.complaints() == "");
  rig.s.lingers = false;
  only(rig, "linger", warning, "ends with the last session", "loginctl enable-linger");
}

TEST_CASE("diagnosis: a node that was started without systemd, too, is found") {
  Rig rig;
  StandIn other(rig.dir / "run/other.pid", rig.dir / "run/other.sock");
  rig.s.record = NodeRecord{{}, rig.dir / "run/other.pid", ""};
  only(rig, "one-supervisor", error, "process " + std::to_string(other.pid()),
       "stem worker multi stop --supervisor start-stop-daemon web-1");
}

TEST_CASE("diagnosis: without systemd its checks do not apply, and the others do") {
  Rig rig;
  rig.without_systemd();
  CHECK(rig.complaints() == "");
  const auto diagnosis = diagnose(rig.s);
  CHECK(diagnosis.skipped() >= 15);
  CHECK(diagnosis.count(ok) >= 15);
  CHECK(diagnosis.results.size() == all_checks().size());
}
