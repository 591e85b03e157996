"""`stem worker multi` without systemd, by an ordinary process of this machine."""

import os
import signal
import subprocess
import threading
import time

from box import allow, execute, wait_until


class Nodes:
    """A private directory with nodes in it."""

    def __init__(self, stage, tmp):
        self.tmp = tmp
        self.app = str(stage.built("tests/modules/libeffects.so"))
        self.env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run",
                                     STEM_SUPERVISOR="start-stop-daemon", STEMD_USER="root" if os.geteuid() == 0 else "")

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


def test_a_node_that_waits_for_its_broker_is_stopped_at_once(stage, tmp):
    """Its start goes on meanwhile, for minutes, and ends with it."""
    nodes = Nodes(stage, tmp)
    start = subprocess.Popen(["stem", "worker", "multi", "start", "a", "--app", nodes.app, "--logfile", f"{tmp}/a.log"],
                             env={**nodes.env, "STEM_BROKER_URL": "redis://127.0.0.1:9/0"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: "Connection refused" in (nodes.status("a", rc=3)["a"]["status"] or ""), what="it waits")
        pid = nodes.status("a", rc=3)["a"]["pid"]
        began = time.monotonic()
        nodes.multi("stop", "a")
        out, _ = start.communicate(timeout=30)
        assert time.monotonic() - began < 30 and start.returncode == 1 and "did not start" in out, out
        assert not os.path.exists(f"/proc/{pid}") and nodes.status("a", rc=3)["a"]["state"] == "stopped"
    finally:
        start.kill()
        start.communicate()


def test_a_node_that_does_not_stop_keeps_no_other_waiting(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a", "b", "c")
    for node in ("a", "b"):
        os.kill(nodes.status(node)[node]["pid"], signal.SIGSTOP)
    lines = nodes.multi("stop", "a", "b", "c", "--timeout", "2s").stdout.splitlines()
    assert lines[0].startswith("c  stopped") and all("was killed" in line for line in lines[1:]) and len(lines) == 3, lines


def test_a_node_that_cannot_be_restarted_does_not_leave_the_others_stopped(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a", "c")
    before = nodes.status()
    os.mkdir(f"{tmp}/run/b.pid")
    ran = nodes.multi("restart", "a", "b", "c", "--app", nodes.app, rc=77)
    assert "b: " in ran.stderr and "cannot be used" in ran.stderr, ran.stderr
    after = nodes.status("a", "c")
    assert all(after[node]["state"] == "running" and after[node]["pid"] != before[node]["pid"] for node in ("a", "c")), after
    nodes.multi("stop", "a", "c")


def test_an_environment_file_that_is_wrong_is_refused_by_who_starts_and_told_to_who_does_not(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a")
    (tmp / "wrong.env").write_text("STEM_LOG_LEVEL=debug\nnonsense\n")
    for file, words in ((tmp / "wrong.env", f"{tmp}/wrong.env:2: "), (tmp / "missing.env", "missing.env: No such file")):
        for action, rc in (("start", 66 if "missing" in words else 78), ("restart", 66 if "missing" in words else 78), ("status", 0), ("reload", 0)):
            assert words in nodes.multi(action, "a", "--env-file", str(file), rc=rc).stderr, action
    assert words in nodes.multi("stop", "a", "--env-file", str(file)).stderr
    assert nodes.status("a", rc=3)["a"]["state"] == "stopped"


def test_options_that_belong_to_start_are_refused_elsewhere(stage, tmp):
    nodes = Nodes(stage, tmp)
    assert "belong to start, restart and enable" in nodes.multi("stop", "a", "-c", "2", rc=64).stderr
    assert "belong to start, stop, restart and reload" in nodes.multi("status", "--no-block", rc=64).stderr
    assert "is not known" in nodes.multi("status", "--supervisor", "upstart", rc=64).stderr


def test_reload_is_acknowledged_by_the_worker_itself(stage, tmp):
    nodes = Nodes(stage, tmp)
    env_file = f"{tmp}/worker.env"
    open(env_file, "w").write("STEM_WORKER_QUEUES=one\n")
    nodes.start("a", "--env-file", env_file)
    try:
        pid = nodes.status()["a"]["pid"]
        open(env_file, "w").write("STEM_WORKER_QUEUES=two\n")
        assert nodes.multi("reload", "a").stdout.startswith(f"a  reloaded, pid {pid} (")
        health = execute(["stem", "worker", "healthcheck", "--node", "a", "--json"], env=nodes.env).json()
        assert health["queues"] == ["two"] and health["pid"] == pid, health
        open(env_file, "w").write("not a variable\n")
        ran = nodes.multi("reload", "a", rc=78)
        assert f"{env_file}:1:" in ran.stderr and "goes on with the old one" in ran.stderr, ran.stderr
        os.kill(pid, signal.SIGSTOP)
        ran = nodes.multi("reload", "a", rc=75)
        assert "nobody answers" in ran.stderr, ran.stderr
        os.kill(pid, signal.SIGCONT)
        assert nodes.status()["a"]["pid"] == pid
    finally:
        nodes.multi("stop", "a")
    assert "does not run" in nodes.multi("reload", "a", rc=1).stderr


def test_what_starts_nodes_at_boot_is_named_instead_of_done(stage, tmp):
    nodes = Nodes(stage, tmp)
    for action in ("enable", "disable"):
        ran = nodes.multi(action, "a", rc=69)
        assert "STEMD_NODES" in ran.stderr and "update-rc.d stem-worker" in ran.stderr and "chkconfig" in ran.stderr, ran.stderr
    assert "limits of a systemd unit" in nodes.multi("start", "a", "--app", nodes.app, "--property", "Nice=5", rc=64).stderr


def test_logs_are_those_of_the_files_and_are_followed_across_a_rotation(stage, tmp):
    nodes = Nodes(stage, tmp)
    assert "has never been started" in nodes.multi("logs", "a", rc=66).stderr
    nodes.start("a", "b")
    try:
        assert "ready" in nodes.multi("logs", "a").stdout
        several = nodes.multi("logs", "--all", "-n", "1").lines()
        assert [line.split("  ")[0] for line in several] == ["a", "b"], several
        line = nodes.multi("logs", "a", "-n", "1", "--json").json()
        assert line["node"] == "a" and line["text"], line
        follow = subprocess.Popen(["stem", "worker", "multi", "logs", "-f", "-n", "0", "a"], env=nodes.env, text=True,
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        seen = []
        threading.Thread(target=lambda: seen.extend(iter(follow.stdout.readline, "")), daemon=True).start()

        def reloads():
            nodes.multi("reload", "a")
            return sum("reloaded" in line for line in seen)

        wait_until(reloads, what="a line is followed")
        os.rename(f"{tmp}/log/a.log", f"{tmp}/log/a.log.1")
        before = len(seen)
        wait_until(lambda: reloads() and len(seen) > before, what="a line of the new file is followed")
        assert os.path.exists(f"{tmp}/log/a.log")
        follow.send_signal(signal.SIGINT)
        assert follow.wait(10) == -signal.SIGINT
        # A pager that is left ends it as well, without another line.
        follow = subprocess.Popen(["stem", "worker", "multi", "logs", "-f", "a"], env=nodes.env, text=True,
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert follow.stdout.readline()
        follow.stdout.close()
        assert follow.wait(10) is not None
    finally:
        nodes.multi("stop", "a", "b")


def test_a_rolling_restart_ends_at_the_first_failure(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a", "b", "c")
    try:
        pids = {node: state["pid"] for node, state in nodes.status().items()}
        ran = nodes.multi("restart", "--rolling", "--all")
        again = {node: state["pid"] for node, state in nodes.status().items()}
        assert not set(pids.values()) & set(again.values()), ran.stdout
        ran = nodes.multi("restart", "--rolling", "a", "b", "c", "--app:b", "/nowhere.so", rc=66)
        assert ran.lines()[2] == "c  not touched" and "not touched after that: c" in ran.stderr, ran.stderr
        assert nodes.status("c")["c"]["pid"] == again["c"]
    finally:
        nodes.multi("stop", "--all")


def test_nothing_that_stands_at_a_pidfiles_place_makes_anything_touch_it_or_a_foreign_process(stage, tmp):
    nodes = Nodes(stage, tmp)
    bystander = subprocess.Popen(["sleep", "1000"])
    dead = subprocess.Popen(["true"])
    dead.wait()
    pidfile = f"{tmp}/run/a.pid"
    os.makedirs(f"{tmp}/run")
    try:
        for text in ("1", str(os.getpid()), str(dead.pid), str(bystander.pid), "0", "-1", "text", "", "9" * 40):
            for action, allowed in (("status", {3}), ("reload", {1, 77}), ("stop", {0, 77})):
                open(pidfile, "w").write(text + "\n")
                ran = execute(["stem", "worker", "multi", action, "a"], env=nodes.env)
                assert ran.rc in allowed, (action, text, ran)
                assert bystander.poll() is None, (action, text)
                # The pid of the very command that reads the file.
                open(pidfile, "w").close()
                ran = execute(["sh", "-c", f'echo $$ >{pidfile}; exec stem worker multi {action} a'], env=nodes.env)
                assert ran.rc in allowed, (action, ran)
            # And a start takes it over, or says why it does not.
            open(pidfile, "w").write(text + "\n")
            ran = execute(["stem", "worker", "multi", "start", "a", "--app", nodes.app], env=nodes.env)
            assert ran.rc in (0, 77) and bystander.poll() is None, (text, ran)
            assert ran.rc == 0 or "cannot be used" in ran.stderr, (text, ran)
            if ran.rc == 0:
                assert nodes.status("a")["a"]["pid"] == int(open(pidfile).read())
                nodes.multi("stop", "a")
        # A link and a directory are refused by all, and stay as they are.
        for make in (lambda: os.symlink("/etc/passwd", pidfile), lambda: os.mkdir(pidfile)):
            if os.path.lexists(pidfile):
                os.remove(pidfile)
            make()
            passwd = open("/etc/passwd").read()
            for action, rc in (("status", 3), ("reload", 77), ("stop", 77)):
                ran = nodes.multi(action, "a", rc=rc)
                assert "cannot be used" in ran.stdout + ran.stderr, ran
            assert "cannot be used" in nodes.multi("start", "a", "--app", nodes.app, rc=77).stderr
            assert os.path.lexists(pidfile) and open("/etc/passwd").read() == passwd
    finally:
        bystander.kill()
        bystander.wait()


def test_no_time_at_all_kills_at_once_and_starts_nothing(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a")
    ran = nodes.multi("stop", "a", "--timeout", "0")
    assert "was killed" in ran.stdout or "stopped" in ran.stdout, ran.stdout
    ran = nodes.multi("start", "a", "--timeout", "0", rc=75)
    assert "not ready in time" in ran.stderr, ran.stderr
    assert nodes.status(rc=3)["a"]["state"] != "running"


@allow(seconds=120)
def test_two_starts_at_once_fifty_times_are_one_worker(stage, tmp):
    nodes = Nodes(stage, tmp)
    nodes.start("a")
    for _ in range(50):
        nodes.multi("stop", "a")
        both = [subprocess.Popen(["stem", "worker", "multi", "start", "a"], env=nodes.env, stdout=subprocess.PIPE, text=True)
                for _ in range(2)]
        words = sorted(start.communicate(timeout=30)[0].split("  ", 1)[1].split(",")[0] for start in both)
        assert words == ["is running already", "running"] and all(start.returncode == 0 for start in both), words
    nodes.multi("stop", "a")
