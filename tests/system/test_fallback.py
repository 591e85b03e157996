"""`stem worker multi` without systemd, by an ordinary process of this machine."""

import os
import signal

from box import execute, wait_until


class Nodes:
    """A private directory with nodes in it."""

    def __init__(self, stage, tmp):
        self.tmp = tmp
        self.app = str(stage.built("tests/modules/libeffects.so"))
        self.env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run",
                                     STEM_SUPERVISOR="start-stop-daemon")

    def multi(self, *words, rc=0, **env):
        ran = execute(["stem", "worker", "multi", *words], env={**self.env, **env}, cwd=self.tmp)
        assert ran.rc == rc, f"exit status {ran.rc}, not {rc}\n{ran.stdout}{ran.stderr}"
        return ran

    def start(self, *nodes, **more):
        return self.multi("start", *nodes, "--app", self.app, "--logfile", f"{self.tmp}/log/%n%I.log", **more)

    def status(self, *nodes, rc=0):
        return {node["node"]: node for node in self.multi("status", *nodes, "--json", rc=rc).json()["nodes"]}


def test_nodes_are_started_do_jobs_are_shown_and_stopped(stage, tmp):
    nodes = Nodes(stage, tmp)
    ran = nodes.start("a", "web-1")
    try:
        states = nodes.status()
        assert set(states) == {"a", "web-1"} and all(state["state"] == "running" for state in states.values()), states
        assert f"a  running, pid {states['a']['pid']} (" in ran.stdout, ran.stdout
        assert states["a"]["status"].startswith("0/") and states["a"]["memoryBytes"] > 0 and states["a"]["restarts"] is None
        assert states["a"]["pidfile"] == f"{tmp}/run/a.pid" and states["a"]["logfile"] == f"{tmp}/log/a.log"
        done = execute(["stem", "enqueue", "effect.append", "--args", f'{{"file": "{tmp}/out", "text": "x"}}', "--wait"], env=nodes.env)
        assert done.rc == 0, done.stderr
        assert nodes.multi("start", "a").stdout.startswith("a  is running already, pid ")
        health = execute(["stem", "worker", "healthcheck", "--node", "a", "--json"], env=nodes.env)
        assert health.rc == 0 and health.json()["supervisor"] in ("start-stop-daemon", "stem"), health.stdout
    finally:
        nodes.multi("stop", "a", "web-1")
    assert {state["state"] for state in nodes.status(rc=3).values()} == {"stopped"}
    assert nodes.multi("stop", "a").stdout == "a  is stopped already\n"
    assert not os.path.exists(f"{tmp}/run/a.pid")


def test_a_worker_that_does_not_start_is_shown_with_its_own_words(stage, tmp):
    nodes = Nodes(stage, tmp)
    ran = nodes.multi("start", "a", "--app", "/nowhere.so", "--logfile", f"{tmp}/a.log", rc=66)
    assert "exit-code 66 (file missing)" in ran.stderr and "/nowhere.so" in ran.stderr and f"more: {tmp}/a.log" in ran.stderr, ran.stderr
    assert nodes.status(rc=3)["a"]["state"] != "running"


def test_a_stopped_process_is_shown_as_silent_and_is_ended_all_the_same(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a")
    pid = nodes.status()["a"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert "does not answer" in nodes.status("a")["a"]["detail"]
    ran = nodes.multi("stop", "a", "--timeout", "300ms")
    assert "was killed" in ran.stdout, ran.stdout
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or ") Z " in open(f"/proc/{pid}/stat").read(), what="it has ended")


def test_options_that_belong_to_start_are_refused_elsewhere(stage, tmp):
    nodes = Nodes(stage, tmp)
    assert "belong to start and restart" in nodes.multi("stop", "a", "-c", "2", rc=64).stderr
    assert "belong to start, stop and restart" in nodes.multi("status", "--no-block", rc=64).stderr
    assert "is not known" in nodes.multi("status", "--supervisor", "upstart", rc=64).stderr
