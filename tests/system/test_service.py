"""A worker as a service of a real systemd: what it tells, how it drains, and what it leaves behind."""

import json
import time

from box import allow, wait_until

MODULE = "/usr/src/stem-build/tests/modules/libeffects.so"
URL = "sqlite:///var/lib/stem/service.db"


def start(box, unit, *words, properties=(), env=()):
    """A transient service; returns its main process's id once READY=1 has come."""
    settings = [f"--property={p}" for p in ("Type=notify", "RuntimeDirectory=stem", "RuntimeDirectoryPreserve=yes",
                                            "StateDirectory=stem", "KillMode=process", *properties)]
    settings += [f"--setenv={e}" for e in (f"STEM_BROKER_URL={URL}", *env)]
    box.run(["systemd-run", "--quiet", f"--unit={unit}", *settings, "stem", "worker", "start", "--node", unit, *words])
    return box.properties(unit, "MainPID")["MainPID"]


def enqueue(box, task, arguments, wait=False):
    return box.run(["stem", "enqueue", task, "--args", json.dumps(arguments), *(["--wait"] if wait else [])],
                   env={"STEM_BROKER_URL": URL}).stdout.strip()


def processes(box, unit):
    """All in the unit's control group, whichever way the kernel's control groups are mounted."""
    files = " ".join(f"/sys/fs/cgroup{mount}/system.slice/{unit}.service/cgroup.procs" for mount in ("", "/unified", "/systemd"))
    return set(box.run(f"cat {files} 2>/dev/null", check=False).stdout.split())


def test_the_journal_gets_fields_and_systemctl_the_status(box):
    start(box, "fields", "--app", MODULE)
    assert " busy · " in box.properties("fields", "StatusText")["StatusText"]
    job = enqueue(box, "effect.fail", {"message": "as the test wants"})
    wait_until(lambda: box.journal("fields", f"STEM_TASK_ID={job}"), deadline=10)
    entry = box.journal("fields", f"STEM_TASK_ID={job}")[0]
    assert entry["STEM_NODE"] == "fields", entry
    assert entry["STEM_TASK"] == "effect.fail", entry
    assert entry["STEM_QUEUE"] == "default", entry
    assert entry["STEM_ATTEMPT"] == "0", entry
    assert entry["SYSLOG_IDENTIFIER"] == "stem", entry
    box.run(["systemctl", "stop", "fields"])


@allow(seconds=60)
def test_a_job_that_outlasts_the_stop_timeout_is_finished_and_the_stop_succeeds(box):
    start(box, "drain", "--app", MODULE, properties=["TimeoutStopSec=2"])
    enqueue(box, "effect.append", {"file": "/tmp/drained", "text": "done", "ms": 7000})
    wait_until(lambda: "1/" in box.properties("drain", "StatusText")["StatusText"], deadline=5)
    began = time.monotonic()
    box.run(["systemctl", "stop", "drain"])
    assert time.monotonic() - began > 3
    assert box.read("/tmp/drained").strip() == "done"
    assert "Failed" not in box.run("systemctl status drain", check=False).stdout


def test_nothing_of_a_foreign_program_outlives_a_shim_that_is_killed(box):
    box.write("/tmp/family", "sleep 1000 &\n(setsid sleep 1001 &)\nexec sleep 1002\n")
    pid = start(box, "family", "--command", "/bin/sh /tmp/family")
    wait_until(lambda: len(processes(box, "family")) == 5, deadline=5, what="shim, keeper and three that sleep run")
    family = processes(box, "family")
    box.kill(pid)
    wait_until(lambda: not any(box.exists(f"/proc/{member}/exe") for member in family), deadline=5)
    assert not processes(box, "family")


def test_a_foreign_program_speaks_for_itself_and_is_replaced_when_it_falls_silent(box):
    box.write("/tmp/speaker", "systemd-notify --ready --status='at work'\nfor i in 1 2 3; do systemd-notify WATCHDOG=1; sleep 0.3; done\n"
                              "exec sleep 1000\n")
    pid = start(box, "speaker", "--command", "/bin/sh /tmp/speaker", env=["STEM_COMMAND_NOTIFY=yes"],
                properties=["WatchdogSec=2", "Restart=on-failure", "RestartSec=1", "TimeoutAbortSec=1"])
    assert box.properties("speaker", "StatusText")["StatusText"] == "at work"
    wait_until(lambda: box.properties("speaker", "MainPID", "SubState") not in
               ({"MainPID": pid, "SubState": "running"}, {"MainPID": "0", "SubState": "auto-restart"}), deadline=8)
    wait_until(lambda: box.properties("speaker", "SubState")["SubState"] == "running", deadline=5)
    assert box.properties("speaker", "NRestarts")["NRestarts"] >= "1"
    box.run(["systemctl", "stop", "speaker"], check=False)
