"""The shipped units: what systemd does with a worker that lives, hangs or dies."""

import json
import re
import shutil
import subprocess
import time

from box import Skip, allow, wait_until
from workers import EFFECTS, Workers

QUICK = "[Service]\nWatchdogSec=2\nRestartSec=500ms\n"
LIMIT = 2 + 0.5 + 1  # WatchdogSec + RestartSec + 1 s


def test_exposure_of_the_unit_is_at_most_1_4(box):
    shown = box.run(["systemd-analyze", "security", "--no-pager", "stem-worker@x.service"]).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown).group(1))
    assert exposure <= 1.4, shown


def test_the_decisions_of_the_unit_hold(box):
    shown = box.properties("stem-worker@x", "Type", "PIDFile", "Restart", "RestartUSec", "TimeoutStopUSec", "KillMode", "LimitNOFILE",
                           "User", "Group", "NoNewPrivileges", "PrivateTmp", "CapabilityBoundingSet", "RuntimeDirectory",
                           "RuntimeDirectoryPreserve", "RestartPreventExitStatus")
    assert shown == {
        "Type": "notify", "PIDFile": "/run/stem/x.pid", "Restart": "on-failure", "RestartUSec": "5s", "TimeoutStopUSec": "30s",
        "KillMode": "process", "LimitNOFILE": "65536", "User": "stem", "Group": "stem", "NoNewPrivileges": "yes",
        "PrivateTmp": "yes", "CapabilityBoundingSet": "", "RuntimeDirectory": "stem", "RuntimeDirectoryPreserve": "yes",
        "RestartPreventExitStatus": "64 66 78"}, shown
    assert "WatchdogSec=60" in box.run(["systemctl", "cat", "stem-worker@x"]).lines()
    order = box.properties("stem-worker@x", "After", "Wants")
    assert all("network-online.target" in order[key].split() for key in ("After", "Wants")), order


def test_the_worker_itself_is_the_main_process(box):
    """No launcher and no shell between: what ends, ends under systemd's eyes."""
    workers = Workers(box)
    workers.start("web-1")
    command = box.read(f"/proc/{workers.pid('web-1')}/cmdline").split("\0")
    assert command[:5] == ["/usr/bin/stem", "worker", "start", "--node", "web-1"], command
    assert workers.processes("web-1") == [str(workers.pid("web-1"))]
    box.kill(workers.pid("web-1"))
    wait_until(lambda: box.properties("stem-worker@web-1", "ExecMainCode", "ExecMainStatus", "Result")["Result"] == "signal",
               what="systemd knows that it was a signal")


def test_nodes_share_a_directory_and_none_takes_it_from_the_others(box):
    workers = Workers(box)
    workers.start("a", "b")
    pid = workers.pid("a")
    for action in ("stop", "restart", "stop"):
        box.run(["systemctl", action, "stem-worker@b"])
        assert box.read("/run/stem/a.pid") == f"{pid}\n" and workers.health("a")["status"] == "ok"
    box.run(["systemctl", "stop", "stem-worker@a"])
    assert not box.exists(f"/proc/{pid}") and box.exists("/run/stem")
    workers.multi("start", "a", "b")
    assert box.run(["pgrep", "-fc", "^/usr/bin/stem worker start"]).stdout == "2\n"


def test_a_file_that_only_root_may_read_is_good_enough_for_a_service(box):
    workers = Workers(box)
    box.write("/etc/stem/a.env", "STEM_WORKER_QUEUES=secret\n", mode=0o600)
    workers.start("a")
    assert workers.health("a")["queues"] == ["secret"]


@allow(seconds=90)
def test_a_job_that_takes_longer_than_the_watchdog_is_not_cut_off(box):
    workers = Workers(box)
    workers.drop_in(QUICK)
    workers.start("a", "-c", "1")
    pid = workers.pid("a")
    workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "done", "ms": 6000}', "--wait")
    assert workers.pid("a") == pid and box.properties("stem-worker@a", "NRestarts") == {"NRestarts": "0"}


def test_only_the_worker_is_told_to_stop_and_its_child_comes_to_its_end(box):
    box.write("/opt/parent", """#!/bin/sh
trap 'wait "$child"; echo "child ended with $?" >/var/lib/stem/told; exit 0' TERM
sh -c 'trap "exit 9" TERM; touch /var/lib/stem/up; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; done; exit 3' &
child=$!
wait
""", mode=0o755)
    workers = Workers(box)
    workers.multi("start", "p", "--command", "/opt/parent")
    wait_until(lambda: box.exists("/var/lib/stem/up"), what="the child runs")
    box.run(["systemctl", "stop", "stem-worker@p"])
    assert box.read("/var/lib/stem/told") == "child ended with 3\n"


def test_a_program_that_is_missing_is_a_failure_to_start_and_not_a_success(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nExecStart=\nExecStart=/opt/nowhere\nRestart=no\n")
    ran = workers.multi("start", "a", check={1, 66, 78})
    assert "203" in ran.stderr or "/opt/nowhere" in ran.stderr, ran.stderr
    box.run(["systemctl", "start", "stem-worker@a"], check=1)


def test_a_worker_that_is_killed_comes_back_and_its_jobs_are_done(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartSec=200ms\n")
    box.write("/etc/stem/stem.env", "STEM_VISIBILITY_TIMEOUT=1s\n", mode=0o644)
    workers.start("a")
    pid = workers.pid("a")
    workers.enqueue("effect.append", json.dumps({"file": "/var/lib/stem/out", "text": "done", "ms": 800}))
    wait_until(lambda: workers.health("a")["inflight"] == 1, what="the job runs")
    box.kill(pid)
    workers.replaced("a", pid, 10)
    wait_until(lambda: box.exists("/var/lib/stem/out") and "done" in box.read("/var/lib/stem/out"), 15, "the job is done after all")
    assert workers.status()["a"]["restarts"] == 1


@allow(seconds=90)
def test_a_stopped_worker_is_unhealthy_at_once_and_replaced_by_the_watchdog(box):
    workers = Workers(box)
    workers.drop_in(QUICK)
    workers.start("a")
    pid = workers.pid("a")
    assert workers.health("a")["status"] == "ok"
    began = time.monotonic()
    box.run(["kill", "-STOP", str(pid)])
    health = workers.health("a", check=1)
    assert time.monotonic() - began < 1, "the answer took too long"
    assert health["status"] == "error" and health["pid"] == pid and "stopped by a signal" in health["error"], health
    workers.replaced("a", pid, LIMIT + 1)
    assert time.monotonic() - began <= LIMIT, time.monotonic() - began
    assert workers.health("a")["status"] == "ok"


@allow(seconds=90)
def test_a_worker_whose_handlers_all_hang_is_unhealthy_and_replaced_by_the_watchdog(box):
    workers = Workers(box)
    workers.drop_in(QUICK)
    box.write("/etc/stem/stem.env", "STEM_TASK_TIME_LIMIT=1s\nSTEM_DEFAULT_MAX_RETRIES=0\n", mode=0o644)
    workers.start("a", app=EFFECTS)
    workers.multi("restart", "a", "-c", "2")
    pid = workers.pid("a")
    for _ in range(2):
        workers.enqueue("effect.hang")
    wait_until(lambda: workers.box.run(["stem", "worker", "healthcheck", "--node", "a"], check={0, 1}).rc == 1, 10, "it is unhealthy")
    health = workers.health("a", check=1)
    assert "handlers" in health["error"] or "failed" in health["error"], health
    began = time.monotonic()
    workers.replaced("a", pid, LIMIT + 2)
    assert time.monotonic() - began <= LIMIT, time.monotonic() - began
    entries = [entry.get("MESSAGE") or "" for entry in box.journal("stem-worker@a")]
    assert any("Watchdog timeout" in entry for entry in entries), entries[-10:]


def test_a_crash_loop_reaches_the_start_limit(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartSec=50ms\nExecStart=\nExecStart=/bin/false\n")
    workers.multi("start", "a", check=1)
    wait_until(lambda: box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "failed", 10, "systemd gives up")
    assert box.properties("stem-worker@a", "NRestarts")["NRestarts"] == "5"
    detail = workers.status(check=3)["a"]["detail"]
    assert detail.startswith(("exit-code 1", "start-limit-hit")), detail


def test_stopping_the_target_stops_every_worker(box):
    workers = Workers(box)
    workers.start("a", "b")
    box.run(["systemctl", "stop", "stem.target"])
    # systemctl waits for the target only.
    wait_until(lambda: {state["state"] for state in workers.status(check={0, 3}).values()} == {"stopped"},
               what="every worker stops")


def test_an_enabled_node_comes_up_with_the_target(box):
    box.write("/etc/stem/stem.env", f"STEM_WORKER_APP={EFFECTS}\n", mode=0o644)
    box.run(["systemctl", "enable", "stem-worker@boot.service"])
    try:
        for target in ("multi-user.target", "stem.target"):
            assert box.exists(f"/etc/systemd/system/{target}.wants/stem-worker@boot.service")
        box.run(["systemctl", "start", "stem.target"])
        box.wait_for_unit("stem-worker@boot", "active/running")
    finally:
        box.run(["systemctl", "disable", "stem-worker@boot.service"])


def test_reload_keeps_the_process_and_the_jobs(box):
    workers = Workers(box)
    workers.start("a")
    pid = workers.pid("a")
    workers.enqueue("effect.append", json.dumps({"file": "/var/lib/stem/out", "text": "kept", "ms": 500}))
    wait_until(lambda: workers.health("a")["inflight"] == 1, what="the job runs")
    box.run(["systemctl", "reload", "stem-worker@a"])
    wait_until(lambda: box.exists("/var/lib/stem/out"), what="the job is done")
    assert workers.pid("a") == pid
    wait_until(lambda: any(entry.get("MESSAGE") == "reloaded" for entry in box.journal("stem-worker@a")), what="it says so")


def interpreter(box, *names):
    for name in names:
        if box.run(["test", "-x", name], check=False).rc == 0:
            return name
    raise Skip(f"none of {', '.join(names)} is installed")


@allow(seconds=90)
def test_a_python_program_runs_under_the_unit_and_leaves_nothing_behind(box):
    python = interpreter(box, "/usr/bin/python3")
    box.write("/opt/worker.py", """
import ctypes, json, os, signal, sqlite3, ssl, subprocess, sys, tempfile, threading, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ssl.create_default_context()
ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)()                       # a closure in executable memory
sqlite3.connect(os.path.join(os.environ["STATE_DIRECTORY"], "py.db")).execute("create table if not exists t(x)")
assert open("/proc/meminfo").read() and os.cpu_count()
tempfile.TemporaryFile()
threading.Thread(target=time.sleep, args=(0,)).start()
subprocess.run(["true"], check=True)
child = subprocess.Popen(["sleep", "1000"])
open("/var/lib/stem/py-ready", "w").write(str(child.pid))
time.sleep(1000)
""")
    workers = Workers(box)
    workers.multi("start", "py", "--command", f"{python} /opt/worker.py")
    wait_until(lambda: box.exists("/var/lib/stem/py-ready"), what="the program got through")
    assert workers.health("py")["status"] == "ok"
    pid = workers.pid("py")
    assert len(workers.processes("py")) >= 3
    box.kill(pid)
    wait_until(lambda: workers.processes("py") == [], 15, "nothing of it is left")
    workers.replaced("py", pid, 20)
    workers.multi("stop", "py")
    wait_until(lambda: workers.processes("py") == [], 5, "nothing of it is left")


@allow(seconds=90)
def test_a_node_program_with_its_jit_runs_under_the_unit(box):
    node = interpreter(box, "/usr/bin/node", "/usr/local/bin/node")
    box.write("/opt/worker.js", """
const fs = require('fs'), os = require('os'), net = require('net');
function hot(n) { let s = 0; for (let i = 0; i < n; i++) s = (s * 31 + i) | 0; return s; }
for (let i = 0; i < 200; i++) hot(100000);                        // hot enough to be compiled
new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
const server = net.createServer().listen(0, '127.0.0.1', () => {
  fs.writeFileSync('/var/lib/stem/js-ready', String(os.cpus().length) + ' ' + os.totalmem());
});
process.on('SIGTERM', () => process.exit(0));
""")
    workers = Workers(box)
    workers.multi("start", "js", "--command", f"{node} /opt/worker.js")
    wait_until(lambda: box.exists("/var/lib/stem/js-ready"), 20, "the program got through")
    cpus, memory = map(int, box.read("/var/lib/stem/js-ready").split())
    assert cpus > 0 and memory > 0
    assert workers.health("js")["status"] == "ok"
    workers.multi("stop", "js")


@allow(seconds=90)
def test_a_worker_that_is_started_before_its_broker_waits_for_it(box):
    if not shutil.which("redis-server"):
        raise Skip("redis-server is not installed")
    workers, since = Workers(box), box.cursor()
    box.write("/etc/stem/stem.env", f"STEM_BROKER_URL=redis://127.0.0.1:7007/0\nSTEM_WORKER_APP={EFFECTS}\n")
    box.run(["systemctl", "start", "--no-block", "stem-worker@a"])
    wait_until(lambda: "Connection refused" in box.properties("stem-worker@a", "StatusText")["StatusText"], what="it says what it waits for")
    time.sleep(3)  # it looks once a second whether anything was published, which is no answer
    assert box.properties("stem-worker@a", "ActiveState", "NRestarts") == {"ActiveState": "activating", "NRestarts": "0"}
    assert not any("answers again" in (entry["MESSAGE"] or "") for entry in box.journal("stem-worker@a", since=since))
    box.start(["redis-server", "--port", "7007", "--save", "", "--dir", "/tmp"], stdout=subprocess.DEVNULL)
    box.wait_for_unit("stem-worker@a", "active/running", 30)
    assert box.properties("stem-worker@a", "NRestarts") == {"NRestarts": "0"}
    ran = box.run(["stem", "enqueue", "effect.sleep", "--args", '{"ms": 1}', "--wait"], env={"STEM_BROKER_URL": "redis://127.0.0.1:7007/0"})
    assert ran.rc == 0
    # And it is found again when it was away: the same process takes what is enqueued then.
    pid = workers.pid("a")
    box.kill(*box.run(["pgrep", "-x", "redis-server"]).lines())
    box.start(["redis-server", "--port", "7007", "--save", "", "--dir", "/tmp"], stdout=subprocess.DEVNULL)
    url = {"STEM_BROKER_URL": "redis://127.0.0.1:7007/0"}
    wait_until(lambda: box.run(["stem", "queues"], env=url, check=False).rc == 0, what="Redis is back")
    box.run(["stem", "enqueue", "effect.sleep", "--args", '{"ms": 1}', "--wait"], env=url)
    assert workers.pid("a") == pid and box.properties("stem-worker@a", "NRestarts") == {"NRestarts": "0"}
    workers.multi("stop", "a")
