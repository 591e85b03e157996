"""`stem worker healthcheck`, with systemd and without."""

import signal
import subprocess
import time

from box import execute, wait_until
from workers import Workers

KEYS = {"status", "pool", "node", "pid", "since", "uptimeSeconds", "queues", "inflight", "supervisor", "unit", "state", "watchdog",
        "broker", "pidfile", "logfile", "error"}


def test_a_healthy_worker_under_systemd(box):
    workers = Workers(box)
    workers.start("web-1")
    health = workers.health("web-1")
    assert set(health) == KEYS
    assert set(health["watchdog"]) == {"enabled", "limitMs", "ageMs"} and set(health["broker"]) == {"connected", "ageMs"}
    assert health["status"] == "ok" and health["error"] is None
    assert health["node"] == "web-1" and health["pid"] == workers.pid("web-1")
    assert health["queues"] == ["default"] and health["inflight"] == 0
    assert health["supervisor"] == "systemd" and health["unit"] == "stem-worker@web-1.service" and health["state"] == "running"
    assert health["watchdog"]["enabled"] is True and health["watchdog"]["limitMs"] == 60000 and health["watchdog"]["ageMs"] < 60000
    assert health["broker"]["connected"] is True
    assert health["pidfile"] == "/run/stem/web-1.pid"
    line = box.run(["stem", "worker", "healthcheck", "--node", "web-1"]).stdout
    assert line.startswith(f"web-1: ok, pid {health['pid']}, up "), line


def test_anybody_may_ask_systemd_for_the_health_of_a_worker(box):
    workers = Workers(box)
    workers.start("a")
    box.linger_user("person")
    ran = box.run(["stem", "worker", "healthcheck", "--node", "a", "--json"], user="person")
    health = ran.json()
    assert health["status"] == "ok" and health["pid"] == workers.pid("a") and health["inflight"] is None, health


def test_a_node_that_does_not_run_is_an_error(box):
    health = Workers(box).health("nobody", check=1)
    assert set(health) == KEYS and health["status"] == "error" and health["pid"] is None
    for place in ("stem-worker@nobody.service", "control socket", "/run/stem/nobody.pid"):
        assert place in health["error"], health["error"]


def test_a_failed_unit_says_why(box):
    workers = Workers(box)
    workers.multi("start", "a", check=78)
    health = workers.health("a", check=1)
    assert health["state"] == "failed" and "exit-code 78 (configuration)" in health["error"], health


def test_it_suits_exec_start_post(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nExecStartPost=/usr/bin/stem worker healthcheck --node %i\n")
    workers.start("a")


def test_a_pidfile_that_was_asked_for_must_be_there(box):
    workers = Workers(box)
    workers.start("a")
    ran = box.run(["stem", "worker", "healthcheck", "--node", "a", "--pidfile", "/run/stem/other.pid"], check={1})
    assert "/run/stem/other.pid is missing" in ran.stdout, ran.stdout
    box.run(["stem", "worker", "healthcheck", "--node", "a", "--pidfile", "/run/stem/a.pid"])


def test_a_worker_without_systemd_is_asked_itself(stage, tmp):
    env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run", STEM_SUPERVISOR="start-stop-daemon")

    def health():
        ran = execute(["stem", "worker", "healthcheck", "--node", "w", "--json"], env=env)
        return ran, ran.json()

    ran, seen = health()
    assert ran.rc == 1 and "does not run" in seen["error"] and "unit" not in seen["error"], seen
    app = str(stage.built("tests/modules/libeffects.so"))
    worker = subprocess.Popen(["stem", "worker", "start", "--node", "w", "--app", app, "--pidfile", f"{tmp}/run/%n.pid"],
                              env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: health()[0].rc == 0, what="the worker is healthy")
        ran, seen = health()
        assert set(seen) == KEYS and seen["pid"] == worker.pid and seen["supervisor"] is None and seen["unit"] is None, seen
        assert seen["watchdog"] == {"enabled": False, "limitMs": None, "ageMs": None} and seen["pidfile"] == f"{tmp}/run/w.pid"
        worker.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        ran, seen = health()
        assert ran.rc == 1 and time.monotonic() - began < 1, (ran.seconds, seen)
        assert "did not answer" in seen["error"], seen
    finally:
        worker.kill()
        worker.wait()
    ran, seen = health()
    assert ran.rc == 1 and "left over" in seen["error"], seen
