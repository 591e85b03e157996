"""The scheduler as a service: what systemd does with one that lives, hangs or dies."""

import re
import time

from box import allow, wait_until

UNIT = "stem-scheduler"
QUICK = "[Service]\nWatchdogSec=2\nRestartSec=500ms\n"


class Schedulers:
    """The scheduler of the box, and schedules."""

    def __init__(self, box):
        self.box = box

    def drop_in(self, text):
        self.box.write(f"/run/systemd/system/{UNIT}.service.d/50-test.conf", text)
        self.box.run(["systemctl", "daemon-reload"])

    def start(self):
        self.box.run(["systemctl", "start", UNIT])
        return self.box.wait_for_unit(UNIT, "active/running")

    def status(self):
        return self.box.properties(UNIT, "StatusText")["StatusText"]

    def health(self, check=0):
        return self.box.run(["stem", "scheduler", "healthcheck", "--json"], check=check).json()


def test_exposure_of_the_scheduler_is_at_most_1_4(box):
    shown = box.run(["systemd-analyze", "security", "--no-pager", UNIT]).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown).group(1))
    assert exposure <= 1.4, shown
    said = re.search(r"security stem-scheduler` says (\d\.\d)", box.read(f"/usr/lib/systemd/system/{UNIT}.service")).group(1)
    assert float(said) == exposure, (said, exposure)


def test_systemd_has_nothing_to_say_against_the_scheduler_units(box):
    ran = box.run(["systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{UNIT}.service"])
    assert not ran.stdout and not ran.stderr, ran
    assert box.properties(UNIT, "LoadState")["LoadState"] == "loaded"


def test_the_decisions_of_the_scheduler_unit_hold(box):
    shown = box.properties(UNIT, "Type", "PIDFile", "Restart", "RestartUSec", "TimeoutStopUSec", "KillMode", "LimitNOFILE", "User",
                           "Group", "NoNewPrivileges", "PrivateTmp", "RuntimeDirectory", "RuntimeDirectoryPreserve",
                           "RestartPreventExitStatus")
    assert shown == {
        "Type": "notify", "PIDFile": "/run/stem/scheduler.pid", "Restart": "on-failure", "RestartUSec": "5s",
        "TimeoutStopUSec": "30s", "KillMode": "process", "LimitNOFILE": "65536", "User": "stem", "Group": "stem",
        "NoNewPrivileges": "yes", "PrivateTmp": "yes", "RuntimeDirectory": "stem", "RuntimeDirectoryPreserve": "yes",
        "RestartPreventExitStatus": "64 66 78"}, shown


def test_the_scheduler_is_ready_says_what_it_does_reloads_and_stops(box):
    schedulers = Schedulers(box)
    pid = schedulers.start()
    assert schedulers.status().startswith("leading · 0 schedules"), schedulers.status()
    assert int(box.read("/run/stem/scheduler.pid")) == pid
    health = schedulers.health()
    assert health["status"] == "ok" and health["pid"] == pid and health["unit"] == f"{UNIT}.service", health
    box.run(["systemctl", "reload", UNIT])
    wait_until(lambda: any("reloaded" in (entry.get("MESSAGE") or "") for entry in box.journal(UNIT)), what="it reloads")
    assert box.wait_for_unit(UNIT, "active/running") == pid
    began = time.monotonic()
    box.run(["systemctl", "stop", UNIT])
    assert time.monotonic() - began < 3, "it stops at once"
    assert box.properties(UNIT, "Result")["Result"] == "success"
    assert not box.exists("/run/stem/scheduler.pid")
    assert schedulers.health(check=1)["status"] == "error"


def test_a_wrong_configuration_does_not_loop(box):
    schedulers = Schedulers(box)
    box.write("/etc/stem/scheduler.env", "STEM_SCHEDULER_CATCH_UP=some\n", mode=0o644)
    box.run(["systemctl", "start", UNIT], check=1)
    shown = box.properties(UNIT, "ActiveState", "NRestarts", "ExecMainStatus")
    assert shown == {"ActiveState": "failed", "NRestarts": "0", "ExecMainStatus": "78"}, shown
    assert any("none, last, all" in (entry.get("MESSAGE") or "") for entry in box.journal(UNIT))
    assert schedulers.health(check=1)["error"]


@allow(seconds=90)
def test_a_stopped_scheduler_is_unhealthy_at_once_and_replaced_by_the_watchdog(box):
    schedulers = Schedulers(box)
    schedulers.drop_in(QUICK)
    pid = schedulers.start()
    began = time.monotonic()
    box.run(["kill", "-STOP", str(pid)])
    health = schedulers.health(check=1)
    assert health["pid"] == pid and "stopped by a signal" in health["error"], health
    wait_until(lambda: box.properties(UNIT, "MainPID")["MainPID"] not in ("0", str(pid))
               and box.properties(UNIT, "SubState")["SubState"] == "running", 10, "it is replaced")
    assert time.monotonic() - began <= 2 + 0.5 + 1.5, time.monotonic() - began
