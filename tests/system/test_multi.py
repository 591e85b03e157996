"""`stem worker multi` on a real systemd."""

import json
import re
import subprocess
import threading
import time

from box import PATH, allow, wait_until
from workers import BROKER, EFFECTS, Workers


def test_three_nodes_are_started_do_jobs_and_one_is_stopped(box):
    workers = Workers(box)
    ran = workers.start("a", "b", "web-1")
    pids = {node: workers.pid(node) for node in ("a", "b", "web-1")}
    assert len(set(pids.values()) - {0}) == 3, pids
    for node, pid in pids.items():
        assert box.properties(f"stem-worker@{node}", "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
        assert f"{node}  running, pid {pid} (" in ran.stdout, ran.stdout
        assert box.read(f"/run/stem/{node}.pid") == f"{pid}\n"
        shown = box.run(["systemctl", "status", "--no-pager", f"stem-worker@{node}"]).stdout
        assert "busy · 0 done · 0 failed · default" in shown, shown

    out = "/var/lib/stem/out"
    for n in range(20):
        workers.enqueue("effect.append", json.dumps({"file": out, "text": str(n)}))
    wait_until(lambda: workers.left() == 0, what="all jobs are done")
    assert sorted(map(int, box.read(out).split())) == list(range(20))

    ran = workers.multi("stop", "a")
    assert ran.stdout.startswith("a  stopped ("), ran.stdout
    files = set(box.run(["ls", "/run/stem"]).lines())
    assert {"b.pid", "web-1.pid", "b.sock", "web-1.sock"} <= files and "a.pid" not in files, files
    assert {node: workers.pid(node) for node in ("b", "web-1")} == {node: pids[node] for node in ("b", "web-1")}


def test_under_systemd_nothing_is_made_that_it_makes_itself(box):
    """No records, logs or locks of the fallback, which nobody would look at."""
    workers = Workers(box)
    workers.start("a")
    workers.multi("restart", "a")
    workers.multi("status")
    assert set(box.run(["ls", "/run/stem"]).lines()) <= {"a.pid", "a.lock", "a.sock"}, box.run(["ls", "/run/stem"]).stdout
    assert box.run(["ls", "-A", "/var/log/stem"]).stdout == ""


def test_what_runs_is_not_started_and_what_is_stopped_not_stopped_and_both_is_success(box):
    workers = Workers(box)
    workers.start("a")
    pid = workers.pid("a")
    assert workers.multi("start", "a", "a").stdout == f"a  is running already, pid {pid}\n"
    assert workers.multi("stop", "b").stdout == "b  is stopped already\n"


def test_status_shows_every_known_node_and_says_3_when_one_does_not_run(box):
    workers = Workers(box)
    assert workers.status() == {}
    workers.start("a", "b")
    both = workers.status()
    assert set(both) == {"a", "b"}
    a = both["a"]
    assert a["pid"] == workers.pid("a") and a["state"] == "running" and a["unit"] == "stem-worker@a.service", a
    assert a["restarts"] == 0 and a["memoryBytes"] > 100_000 and 0 <= a["uptimeSeconds"] < 60, a
    assert 0 <= a["watchdogAgeMs"] < 60_000 and "busy" in a["status"], a

    table = workers.multi("status").lines()
    assert table[0].split() == ["NODE", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "WATCHDOG", "STATUS"]
    assert table[1].split()[:3] == ["a", "running", str(a["pid"])], table

    workers.multi("stop", "b")
    assert workers.status(check=3)["b"]["state"] == "stopped"
    assert set(workers.status("a")) == {"a"}
    assert workers.status("never", check=3)["never"]["state"] == "stopped"


def test_names_are_checked_before_anything_is_touched(box):
    workers = Workers(box)
    for bad in ("../../etc/x", "a b", "%n", "", "a" * 129, "a/b", "-x", "a\nb", "web-{1..4}"):
        ran = workers.multi("start", "fine", "--app", EFFECTS, "--", bad, check=64)
        assert ran.stdout == "" and len(ran.stderr.splitlines()) == 1, ran.stderr
        for action in ("stop", "restart", "reload", "status", "enable", "disable", "logs"):
            assert workers.multi(action, "--", bad, check=64).stdout == ""
    assert workers.status() == {}
    assert not box.exists("/run/systemd/system/stem-worker@fine.service.d")


def test_nodes_come_from_the_environment_where_none_are_named(box):
    workers = Workers(box, env={"STEMD_NODES": " ", "STEM_WORKER_NODES": "x y x"})
    workers.start()
    assert set(workers.status()) == {"x", "y"}
    assert "no node is named" in Workers(box).multi("stop", check=64).stderr


def test_a_bad_environment_file_on_the_command_line_starts_nothing(box):
    workers = Workers(box)
    box.write("/etc/stem/bad.env", "GOOD=1\n\nBAD=\"open\n")
    ran = workers.multi("start", "a", "--app", EFFECTS, "--env-file", "/etc/stem/bad.env", check=78)
    assert "/etc/stem/bad.env:3: " in ran.stderr, ran.stderr
    ran = workers.multi("start", "a", "--app", EFFECTS, "--env-file", "/etc/stem/none.env", check=66)
    assert "/etc/stem/none.env" in ran.stderr, ran.stderr
    assert workers.status() == {}


def test_a_bad_environment_file_of_the_unit_fails_once_and_is_shown_with_the_words_of_the_journal(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartSec=100ms\n")
    box.write("/etc/stem/stem.env", "STEM_LOG_LEVEL=info\nnot a variable\n", mode=0o644)
    ran = workers.start("a", check=78)
    assert "exit-code 78 (configuration)" in ran.stderr, ran.stderr
    assert "/etc/stem/stem.env:2: " in ran.stderr, ran.stderr
    assert "Main process exited, code=exited, status=78/CONFIG" in ran.stderr, ran.stderr
    assert "journalctl -u stem-worker@a.service" in ran.stderr, ran.stderr
    time.sleep(1)  # ten times RestartSec=: nothing must happen, and nothing tells when it does not
    assert box.properties("stem-worker@a", "NRestarts", "ActiveState") == {"NRestarts": "0", "ActiveState": "failed"}
    assert workers.status(check=3)["a"]["detail"] == "exit-code 78 (configuration)"


def test_an_excerpt_holds_only_what_this_start_wrote(box):
    workers = Workers(box)
    box.write("/etc/stem/stem.env", "first mistake\n", mode=0o644)
    assert "stem.env:1:" in workers.start("a", check=78).stderr
    box.write("/etc/stem/stem.env", "OK=1\nsecond mistake\n", mode=0o644)
    again = workers.start("a", check=78).stderr
    assert "stem.env:2:" in again and "stem.env:1:" not in again, again


def test_the_words_of_a_worker_that_dies_at_once_are_never_missing(box):
    # The journal often has not learned of which unit such a process was before it is gone.
    box.write("/etc/stem/stem.env", "a mistake\n", mode=0o644)
    ran = box.run("""
        for round in $(seq 20); do
            stem worker multi start a --app /nowhere.so 2>&1 >/dev/null | grep -q 'stem.env:1: ' || echo "round $round"
        done""", timeout=50)
    assert ran.stdout == "", ran.stdout


def test_one_node_that_fails_leaves_the_others_alone(box):
    workers = Workers(box)
    box.write("/etc/stem/b.env", "wrong\n", mode=0o644)
    ran = workers.start("a", "b", "c", check=78)
    assert "a  running" in ran.stdout and "c  running" in ran.stdout and "b  failed" in ran.stdout, ran.stdout
    answer = workers.multi("start", "a", "b", "--json", check=78).json()
    by_node = {node["node"]: node for node in answer["nodes"]}
    assert by_node["a"]["state"] == "running" and by_node["a"]["changed"] is False and by_node["a"]["exitStatus"] == 0
    assert by_node["b"]["state"] == "failed" and by_node["b"]["exitStatus"] == 78 and any("b.env:1:" in line for line in by_node["b"]["log"])


def test_failures_of_the_past_do_not_count_against_a_start_by_hand(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartPreventExitStatus=66\n[Unit]\nStartLimitBurst=1\nStartLimitIntervalSec=1h\n")
    for _ in range(3):
        ran = workers.multi("start", "a", "--app", "/nowhere.so", check=66)
        assert "start-limit-hit" not in ran.stderr, ran.stderr
    workers.start("a")


def test_options_become_a_drop_in_that_is_remembered_replaced_and_reset(box):
    workers = Workers(box)

    def command():
        return box.run(["cat", f"/proc/{workers.pid('a')}/cmdline"]).stdout.split("\0")

    workers.multi("start", "a", "--app", EFFECTS, "-q", "mail", "-c", "3")
    assert "50-stem-multi.conf" in box.run(["systemctl", "cat", "stem-worker@a"]).stdout
    assert ["--queue", "mail", "--concurrency", "3"] == command()[-5:-1], command()
    workers.multi("stop", "a")
    workers.multi("start", "a")
    assert ["--queue", "mail", "--concurrency", "3"] == command()[-5:-1], command()
    ran = workers.multi("start", "a", "-c", "5")
    assert "is running already" in ran.stdout and "multi restart a" in ran.stdout, ran.stdout
    workers.multi("restart", "a")
    assert ["--queue", "mail", "--concurrency", "5"] == command()[-5:-1], command()
    # Without options there is nothing to run any more, and the unit says so.
    ran = workers.multi("restart", "a", "--reset", check=78)
    assert "nothing to run" in ran.stderr, ran.stderr
    assert not box.exists("/run/systemd/system/stem-worker@a.service.d")


def test_the_manager_is_reloaded_once_and_only_when_options_are_new(box):
    workers = Workers(box)

    def reloads(since):
        return sum(entry.get("MESSAGE") == "Reloading." or "Reloading requested" in (entry.get("MESSAGE") or "")
                   for entry in box.journal(None, "_PID=1", since=since))

    start = box.cursor()
    workers.start("a", "b", "c")
    assert reloads(start) == 1
    again = box.cursor()
    workers.start("a", "b", "c")
    workers.multi("restart", "a", "b")
    workers.multi("stop", "a", "b", "c")
    assert reloads(again) == 0


def test_hostile_words_reach_the_program_as_they_are(box):
    box.write("/opt/show", '#!/bin/sh\nprintf "%s\\n" "$@" >/var/lib/stem/shown\nexec sleep 1000\n', mode=0o755)
    words = ["%n %% %i", "$HOME ${USER} $$", 'quote " and \\ back', "semi ; colon", "tab\tend", "é ✓", "'"]
    command = "/opt/show " + " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    Workers(box).multi("start", "a", "--command", command)
    wait_until(lambda: box.exists("/var/lib/stem/shown"), what="the program runs")
    wait_until(lambda: box.read("/var/lib/stem/shown").splitlines() == words, what="the words arrive")


def test_files_of_the_users_own_are_used_and_found_again(box):
    workers = Workers(box)
    box.run("rm -rf /srv/run /srv/log")
    workers.multi("start", "a", "--app", EFFECTS, "--pidfile", "/srv/run/%n.pid", "--logfile", "/srv/log/%n%I.log")
    pid = workers.pid("a")
    assert box.read("/srv/run/a.pid") == f"{pid}\n"
    assert "ready" in box.read("/srv/log/a.log")
    health = workers.health("a")
    assert health["pidfile"] == "/srv/run/a.pid" and health["logfile"] == "/srv/log/a.log", health
    assert box.run(["stat", "-c", "%U:%G %a", "/srv/run", "/srv/log"]).lines() == ["stem:stem 755"] * 2
    workers.multi("stop", "a")
    assert not box.exists("/srv/run/a.pid")


def test_somebody_without_the_right_to_do_it_is_told_the_ways_out(box):
    box.linger_user("person")
    workers = Workers(box, user="person", env={"XDG_RUNTIME_DIR": f"/run/user/{box.uid('person')}"})
    ran = workers.multi("start", "a", "--system", check=77)
    for way in ("sudo", "polkit", "--user"):
        assert way in ran.stderr, ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    ran = workers.multi("start", "a", "--system", "-c", "2", check=77)
    assert "sudo" in ran.stderr and "/run/systemd/system" in ran.stderr, ran.stderr
    assert "stopped" in workers.multi("status", "a", "--system", check=3).stdout


def test_a_persons_own_service_manager_runs_nodes_as_well(box):
    env = box.linger_user("person")
    workers = Workers(box, user="person", env=env)
    ran = workers.start("mine")
    try:
        unit = box.properties("stem-worker@mine", "ActiveState", "MainPID", user="person")
        assert unit["ActiveState"] == "active" and f"pid {unit['MainPID']}" in ran.stdout, (unit, ran.stdout)
        state = workers.status()["mine"]
        assert state["pid"] == int(unit["MainPID"]) and state["state"] == "running"
        runtime = f"/run/user/{box.uid('person')}"
        assert box.read(f"{runtime}/stem/mine.pid") == f"{unit['MainPID']}\n"
        health = workers.health("mine")
        assert health["supervisor"] == "systemd --user" and health["status"] == "ok", health
        assert box.exists(f"{runtime}/systemd/user/stem-worker@mine.service.d/50-stem-multi.conf")
    finally:
        assert "mine  stopped" in workers.multi("stop", "mine").stdout
    assert workers.status("mine", check=3)["mine"]["state"] == "stopped"
    workers.multi("start", "mine", "--reset", check=78)


def test_without_waiting_the_jobs_go_on_by_themselves(box):
    workers = Workers(box)
    ran = workers.multi("start", "a", "b", "--no-block", "--app", EFFECTS)
    assert sorted(ran.lines()) == ["a  starting", "b  starting"]
    for node in ("a", "b"):
        box.wait_for_unit(f"stem-worker@{node}", "active/running")
    assert sorted(workers.multi("stop", "a", "b", "--no-block").lines()) == ["a  stopping", "b  stopping"]
    box.wait_for_unit("stem-worker@a", "inactive")


def test_a_node_that_is_never_ready_is_not_waited_for_beyond_the_timeout(box):
    workers = Workers(box)
    box.write("/etc/stem/a.env", "STEM_COMMAND_NOTIFY=yes\n", mode=0o644)
    ran = workers.multi("start", "a", "--command", "/usr/bin/sleep 1000", "--timeout", "500ms", check=75)
    assert "--timeout" in ran.stderr and ran.seconds < 5, ran.stderr
    assert workers.status(check=3)["a"]["state"] == "starting"
    health = workers.health("a", check=1)
    assert "not ready" in health["error"] and health["state"] == "starting", health


def test_a_masked_unit_and_a_missing_one_are_told_apart(box):
    workers = Workers(box)
    box.run(["systemctl", "mask", "--runtime", "stem-worker@a.service"])
    ran = workers.multi("start", "a", check=78)
    assert "masked" in ran.stderr and "unmask" in ran.stderr, ran.stderr
    box.run(["systemctl", "unmask", "--runtime", "stem-worker@a.service"])
    path = box.properties("stem-worker@b", "FragmentPath")["FragmentPath"]
    box.run(f"mv {path} /root/template && systemctl daemon-reload")
    try:
        ran = workers.multi("start", "b", check=78)
        assert "not installed" in ran.stderr, ran.stderr
    finally:
        box.run(f"mv /root/template {path} && systemctl daemon-reload")


def test_a_unit_that_systemd_cannot_use_is_named_so(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nExecStart=\n")
    ran = workers.multi("start", "a", check=78)
    assert "bad unit file setting" in ran.stderr and "systemctl cat stem-worker@a.service" in ran.stderr, ran.stderr


def test_done_is_not_taken_for_running(box):
    workers = Workers(box)
    workers.drop_in("[Unit]\nConditionPathExists=/nonexistent\n")
    ran = workers.start("a", check=1)
    assert "a condition of its unit does not hold" in ran.stderr, ran.stderr


def test_a_start_that_somebody_else_cancels_says_so(box):
    workers = Workers(box)
    box.write("/etc/stem/a.env", "STEM_COMMAND_NOTIFY=yes\n", mode=0o644)
    start = box.start(["stem", "worker", "multi", "start", "a", "--command", "/usr/bin/sleep 1000"], stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
    wait_until(lambda: box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "activating", what="the start is under way")
    box.run(["systemctl", "stop", "stem-worker@a"])
    out, err = start.communicate(timeout=20)
    assert start.returncode == 1 and "canceled" in str(err), (out, err)


@allow(seconds=120)
def test_two_starts_of_one_node_at_once_are_one_start(box):
    workers = Workers(box)
    workers.start("a")
    workers.multi("stop", "a")
    # Fifty times two, in one shell: entering the box takes longer than a start.
    ran = box.run("""
        for round in $(seq 50); do
            stem worker multi start a >/tmp/one & one=$!
            stem worker multi start a >/tmp/two & two=$!
            wait $one || echo "round $round: $? $(cat /tmp/one)"
            wait $two || echo "round $round: $? $(cat /tmp/two)"
            [ "$(pgrep -fc '[s]tem worker start --node a ')" = 1 ] || echo "round $round: $(pgrep -fa '[s]tem worker start')"
            stem worker multi stop a >/dev/null
        done""", timeout=110)
    assert ran.stdout == "", ran.stdout


def test_a_reload_of_the_manager_does_not_disturb_a_start(box):
    workers = Workers(box)
    box.write("/opt/slow", "#!/bin/sh\nsleep 2\nsystemd-notify --ready\nexec sleep 1000\n", mode=0o755)
    workers.drop_in("[Service]\nExecStart=\nExecStart=/opt/slow\nNotifyAccess=all\nWatchdogSec=0\n")
    start = box.start(["stem", "worker", "multi", "start", "a"])
    wait_until(lambda: box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "activating", what="the start is under way")
    box.run(["systemctl", "daemon-reload"])
    box.run(["systemctl", "daemon-reexec"])
    assert start.wait(20) == 0
    box.wait_for_unit("stem-worker@a", "active/running")


def test_more_nodes_than_a_bus_has_open_questions(box):
    # dbus-daemon refuses a connection's 129th. What is run is a bare stand-in: the sandbox of 140 workers, on the way up
    # and on the way down, is what would take the time.
    workers = Workers(box)
    box.write("/etc/systemd/system/stem-worker@.service", "[Service]\nType=exec\nExecStart=/usr/bin/sleep 1000\n")
    box.run(["systemctl", "daemon-reload"])
    nodes = [f"n{n}" for n in range(140)]
    ran = workers.multi("start", *nodes)
    assert ran.stdout.count("  running, pid ") == 140, ran.stdout
    states = workers.status()
    assert len(states) == 140 and all(state["state"] == "running" and state["pid"] > 0 for state in states.values())
    assert workers.multi("stop", "--all").stdout.count("  stopped (") == 140


def test_a_bus_that_dies_half_way_does_not_make_a_start_fail(box):
    workers = Workers(box)
    box.write("/opt/slow", "#!/bin/sh\nsleep 3\nsystemd-notify --ready\nexec sleep 1000\n", mode=0o755)
    workers.drop_in("[Service]\nExecStart=\nExecStart=/opt/slow\nNotifyAccess=all\nWatchdogSec=0\n")
    start = box.start(["stem", "worker", "multi", "start", "a", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "activating", what="the start is under way")
    box.run(["systemctl", "kill", "--signal=KILL", "dbus.service"])
    out, err = start.communicate(timeout=30)
    assert start.returncode == 0, (out, err)
    assert json.loads(out)["nodes"][0]["pid"] == workers.pid("a")


def test_the_fallback_runs_workers_as_another_user_where_root_says_so(box):
    workers = Workers(box, env={"STEM_SUPERVISOR": "start-stop-daemon", "STEMD_USER": "stem"})
    ran = workers.start("a", "b")
    try:
        states = workers.status()
        pid = states["a"]["pid"]
        assert f"a  running, pid {pid}" in ran.stdout, ran.stdout
        assert box.run(["stat", "-c", "%U:%G", f"/proc/{pid}"]).stdout == "stem:stem\n"
        assert box.run(["stat", "-c", "%U", "/run/stem/a.pid", "/var/log/stem/a.log"]).lines() == ["stem", "stem"]
        assert states["a"]["unit"] is None and "busy" in states["a"]["status"], states
        assert "ready" in box.read("/var/log/stem/a.log")
    finally:
        assert workers.multi("stop", "a", "b").stdout.count("  stopped (") == 2
    assert workers.status(check=3)["a"]["state"] == "stopped"


# ---- reload ------------------------------------------------------------------------------------------------------


def test_reload_takes_the_new_configuration_in_the_same_process(box):
    workers = Workers(box)
    box.write("/etc/stem/stem.env", "STEM_WORKER_QUEUES=one\n", mode=0o644)
    workers.start("a", "b")
    pid = workers.pid("a")
    box.write("/etc/stem/stem.env", "STEM_WORKER_QUEUES=two\n", mode=0o644)
    ran = workers.multi("reload", "a", "b")
    assert f"a  reloaded, pid {pid} (" in ran.stdout and "b  reloaded" in ran.stdout, ran.stdout
    assert workers.pid("a") == pid and workers.health("a")["queues"] == ["two"]
    # systemd had put the line into the environment, too: taken out, it is gone all the same.
    box.write("/etc/stem/stem.env", "", mode=0o644)
    workers.multi("reload", "a", "b")
    assert workers.pid("a") == pid and workers.health("a")["queues"] == ["default"]
    answer = workers.multi("reload", "--all", "--json").json()
    assert [node["state"] for node in answer["nodes"]] == ["reloaded"] * 2, answer


def test_a_job_for_everyone_is_run_by_each_node_that_listens_and_a_reload_reads_the_routing_file_again(box):
    workers = Workers(box)
    routing = ("queues: {default: , %s: }\nbroadcasts: {%s: }\n"
               "routes: [{match: {task: effect.append}, target: {type: broadcast, name: %s}}]\n")
    box.write("/etc/stem/routing.yaml", routing % ("one", "caches", "caches"), mode=0o644)
    settings = "STEM_ROUTING_CONFIG=/etc/stem/routing.yaml\nSTEM_WORKER_QUEUES=one\nSTEM_WORKER_BROADCASTS=%s\n"
    box.write("/etc/stem/stem.env", settings % "caches", mode=0o644)
    workers.start("a", "b")
    workers.start("c", "--broadcast", "caches", "--queue", "one")
    said = {"STEM_BROKER_URL": BROKER, "STEM_ROUTING_CONFIG": "/etc/stem/routing.yaml"}

    def say(text):
        args = json.dumps({"file": "/var/lib/stem/out", "text": text})
        box.run(["stem", "enqueue", "effect.append", "--args", args], user="stem", env=said)

    def heard():
        return sorted(box.read("/var/lib/stem/out").split()) if box.exists("/var/lib/stem/out") else []

    say("first")
    wait_until(lambda: heard() == ["first"] * 3, 20, "each of the three has run it")
    told = box.run(["stem", "worker", "ping", "--worker", "a", "--json"], user="stem", env={"STEM_BROKER_URL": BROKER}).json()
    assert told[0]["payload"]["subscriptions"] == {"queues": ["one"], "broadcasts": ["caches"]}, told

    # Another file under the same name, and the variable with it: c keeps what it was started with, which is a mistake now.
    box.write("/etc/stem/routing.yaml", routing % ("two", "sessions", "sessions"), mode=0o644)
    box.write("/etc/stem/stem.env", settings % "sessions", mode=0o644)
    pids = {node: workers.pid(node) for node in ("a", "b", "c")}
    ran = workers.multi("reload", "a", "b", "c", check=78)
    assert "listen on 'caches', which is not among `broadcasts` of /etc/stem/routing.yaml" in ran.stderr, ran.stderr
    assert pids == {node: workers.pid(node) for node in pids}
    wait_until(lambda: (say("second"), heard().count("second") >= 2)[1], 20, "a and b listen on the other channel")
    say("third")
    wait_until(lambda: heard().count("third") == 2, 20, "both have run it")


def test_a_reload_that_a_worker_refuses_is_a_failure_with_its_reason_and_the_worker_goes_on(box):
    workers = Workers(box)
    workers.start("a", "b")
    pid = workers.pid("a")
    box.write("/etc/stem/a.env", "good=1\nnot a variable\n", mode=0o644)
    ran = workers.multi("reload", "a", "b", check=78)
    assert "b  reloaded" in ran.stdout and "a  failed" in ran.stdout, ran.stdout
    assert "/etc/stem/a.env:2:" in ran.stderr and "goes on with the old one" in ran.stderr, ran.stderr
    assert workers.pid("a") == pid and workers.health("a")["status"] == "ok"


def test_a_node_that_does_not_run_or_has_no_way_to_cannot_reload(box):
    workers = Workers(box)
    ran = workers.multi("reload", "a", check=1)
    assert "does not run" in ran.stderr, ran.stderr
    box.write("/etc/systemd/system/stem-worker@.service", "[Service]\nExecStart=/usr/bin/sleep 1000\n")
    box.run("systemctl daemon-reload && systemctl start stem-worker@a")
    ran = workers.multi("reload", "a", check=78)
    assert "no way to reload" in ran.stderr, ran.stderr


# ---- enable and disable -------------------------------------------------------------------------------------------


def test_enable_makes_a_node_and_its_options_outlive_a_boot_and_disable_ends_that(box):
    workers = Workers(box)
    lasting = "/etc/systemd/system/stem-worker@a.service.d/50-stem-multi.conf"
    passing = "/run/systemd/system/stem-worker@a.service.d/50-stem-multi.conf"
    workers.start("a", "b")
    assert box.exists(passing) and not box.exists(lasting)
    ran = workers.multi("enable", "a", "b", "-c", "3")
    assert ran.stdout.count("  enabled (") == 2, ran.stdout
    assert box.exists(lasting) and not box.exists(passing)
    assert box.run(["systemctl", "is-enabled", "stem-worker@a"]).stdout == "enabled\n"
    assert workers.multi("enable", "a").stdout == "a  is enabled already\n"
    assert box.properties("stem-worker@a", "NeedDaemonReload")["NeedDaemonReload"] == "no"

    # As after a boot: nothing is left in /run, and what is enabled is started.
    workers.multi("stop", "a", "b")
    box.run("rm -rf /run/systemd/system/stem* && systemctl daemon-reload && systemctl stop stem.target && "
            "systemctl start multi-user.target stem.target")
    box.wait_for_unit("stem-worker@b", "active/running")
    command = box.run(["cat", f"/proc/{box.wait_for_unit('stem-worker@a', 'active/running')}/cmdline"]).stdout
    assert EFFECTS in command and "--concurrency\0003\0" in command, command

    # New options of an enabled node last as well.
    workers.multi("restart", "a", "-c", "5")
    assert "--concurrency" in box.read(lasting) and '"5"' in box.read(lasting) and not box.exists(passing)

    assert "a  disabled (" in workers.multi("disable", "a").stdout
    assert workers.multi("disable", "a").stdout == "a  is disabled already\n"
    assert box.exists(passing) and not box.exists(lasting)
    assert box.run(["systemctl", "is-enabled", "stem-worker@a"], check=1).stdout == "disabled\n"
    assert workers.status("a")["a"]["state"] == "running"


def test_disabling_one_node_leaves_the_others_to_be_started_at_boot(box):
    workers = Workers(box)
    workers.multi("enable", "a", "b", "--app", EFFECTS)
    workers.multi("disable", "a")
    box.run("systemctl stop stem.target && systemctl start multi-user.target")
    wanted = box.run(["systemctl", "list-dependencies", "--plain", "multi-user.target"]).stdout
    assert "stem-worker@b.service" in wanted and "stem-worker@a.service" not in wanted, wanted


def test_a_person_enables_nodes_of_their_own_manager(box):
    env = box.linger_user("person")
    workers = Workers(box, user="person", env=env)
    workers.multi("enable", "mine", "--app", EFFECTS)
    try:
        assert box.exists("/home/person/.config/systemd/user/stem-worker@mine.service.d/50-stem-multi.conf")
        assert box.run(["systemctl", "--user", "is-enabled", "stem-worker@mine"], user="person", env=env).stdout == "enabled\n"
    finally:
        workers.multi("disable", "mine")
        workers.multi("start", "mine", "--reset", check=78)


# ---- logs ---------------------------------------------------------------------------------------------------------


def test_logs_are_those_of_the_nodes_named_oldest_first(box):
    workers = Workers(box)
    workers.start("a", "b")
    box.run(["journalctl", "--sync"])
    ran = workers.multi("logs", "a", "-n", "all")
    pid = workers.pid("a")
    assert f" a stem[{pid}]: " in ran.stdout and "ready: 0/" in ran.stdout, ran.stdout
    assert "a systemd[1]: Start" in ran.stdout and " b " not in ran.stdout, ran.stdout
    lines = [json.loads(line) for line in workers.multi("logs", "a", "b", "--json", "-n", "all").lines()]
    assert {line["node"] for line in lines} == {"a", "b"}
    told = box.run(["journalctl", "-q", "-o", "json", "-u", "stem-worker@a", "-u", "stem-worker@b"]).lines()
    assert [line["text"] for line in lines][:len(told)] == [json.loads(line)["MESSAGE"] for line in told]
    assert lines[0]["time"].endswith("Z") and lines[0]["priority"] == 6, lines[0]
    assert len(workers.multi("logs", "--all", "-n", "3").lines()) == 3
    assert workers.multi("logs", "a", "-n", "0").stdout == ""
    assert workers.multi("logs", "never").stdout == ""
    workers.multi("restart", "b", "--logfile", "/var/log/stem/%n.log")
    assert "/var/log/stem/%n.log" in workers.multi("logs", "a", "b").stderr


def test_logs_are_followed_across_a_rotation_until_ctrl_c(box):
    workers = Workers(box)
    workers.start("a")
    box.run(["journalctl", "--sync"])
    follow = box.start(["stem", "worker", "multi", "logs", "-f", "-n", "0", "a"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = []
    threading.Thread(target=lambda: seen.extend(iter(follow.stdout.readline, "")), daemon=True).start()

    def logged():
        workers.multi("reload", "a")
        return sum("reloaded" in line for line in seen)

    wait_until(logged, what="the first line is followed")
    box.run(["journalctl", "--rotate"])
    before = len(seen)
    wait_until(lambda: logged() and len(seen) > before, what="a line after the rotation is followed")
    follower = box.run(["pgrep", "-f", "worker multi logs -f"]).lines()
    box.run(["kill", "-INT", *follower])
    assert follow.wait(10) in (-2, 130), follow.returncode


def test_who_may_not_read_the_journal_is_told_so(box):
    box.linger_user("person")
    workers = Workers(box, user="person", env={"XDG_RUNTIME_DIR": f"/run/user/{box.uid('person')}"})
    ran = workers.multi("logs", "a", "--system", check=77)
    assert "systemd-journal" in ran.stderr and "sudo" in ran.stderr, ran.stderr


# ---- restart --rolling --------------------------------------------------------------------------------------------


def test_a_rolling_restart_goes_from_node_to_node_and_ends_at_the_first_failure(box):
    workers = Workers(box)
    workers.start("a", "b", "c")
    pids = {node: workers.pid(node) for node in "abc"}
    ran = workers.multi("restart", "a", "b", "c", "--rolling")
    assert [line.split()[0] for line in ran.lines()] == ["a", "b", "c"], ran.stdout
    again = {node: workers.pid(node) for node in "abc"}
    assert not set(pids.values()) & set(again.values())
    started = {node: int(box.properties(f"stem-worker@{node}", "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"])
               for node in "abc"}
    stopped = {node: int(box.properties(f"stem-worker@{node}", "ActiveExitTimestampMonotonic")["ActiveExitTimestampMonotonic"])
               for node in "abc"}
    assert started["a"] < stopped["b"] < started["b"] < stopped["c"], (started, stopped)

    box.write("/etc/stem/b.env", "wrong\n", mode=0o644)
    ran = workers.multi("restart", "a", "b", "c", "--rolling", "-c", "2", check=78)
    assert ran.lines()[2] == "c  not touched" and "not touched after that: c" in ran.stderr, (ran.stdout, ran.stderr)
    assert workers.pid("a") != again["a"] and workers.pid("c") == again["c"]
    assert '"concurrency"' not in box.read("/run/systemd/system/stem-worker@c.service.d/50-stem-multi.conf")
    answer = workers.multi("restart", "b", "c", "--rolling", "--json", check=78).json()
    assert [node["state"] for node in answer["nodes"]] == ["failed", "not touched"], answer


# ---- options ------------------------------------------------------------------------------------------------------


def test_limits_are_set_and_what_is_no_limit_is_refused_before_anything_is_touched(box):
    workers = Workers(box)
    workers.start("a", "--property", "MemoryMax=512M", "--property", "CPUWeight=20", "--property", "Nice=5")
    assert box.properties("stem-worker@a", "MemoryMax", "CPUWeight", "Nice") == {
        "MemoryMax": "536870912", "CPUWeight": "20", "Nice": "5"}
    ran = workers.multi("restart", "a", "--property", "MemoryMax=", "--property", "TasksMax=50%")
    shown = box.properties("stem-worker@a", "MemoryMax", "CPUWeight")
    assert shown == {"MemoryMax": "infinity", "CPUWeight": "20"}, shown
    pid = workers.pid("a")
    for bad, why in (("User=root", "whom the worker runs as"), ("ExecStartPre=/bin/sh", "life"), ("MemoryMax=lots", "512M"),
                     ("ProtectSystem=no", "sandbox"), ("Environment=A=b", "local user")):
        ran = workers.multi("restart", "a", "--property", bad, check=64)
        assert why in ran.stderr, ran.stderr
    assert workers.pid("a") == pid


def test_each_limit_that_is_taken_is_one_that_systemd_knows(box):
    page = box.read("/usr/src/stem/src/supervisor/unit_property.cpp")
    table = page[page.index("constexpr Property allowed[]"):page.index("/// Why a key")]
    keys = re.findall(r'^ +\{"(\w+)", *$|^ +\{"(\w+)", ', table, re.M)
    keys = [one or other for one, other in keys]
    assert len(keys) > 40, keys
    values = {"MemoryMin": "1M", "AllowedCPUs": "0", "AllowedMemoryNodes": "0", "CPUAffinity": "0", "IODeviceLatencyTargetSec": "/dev/null 1s",
              "IODeviceWeight": "/dev/null 10", "IPAddressAllow": "any", "IPAddressDeny": "multicast", "CPUQuota": "50%",
              "ManagedOOMSwap": "auto", "ManagedOOMMemoryPressure": "auto", "ManagedOOMMemoryPressureLimit": "50%",
              "ManagedOOMPreference": "none", "IOSchedulingClass": "idle", "OOMPolicy": "stop", "IOSchedulingPriority": "3"}
    lines = [f"{key}={values.get(key) or ('yes' if key.endswith('Accounting') else '/dev/null 1M' if key.endswith('Max') and key.startswith('IO') else '5')}"
             for key in keys]
    box.write("/tmp/check.service", "[Service]\nExecStart=/bin/true\n" + "\n".join(lines) + "\n")
    verified = box.run(["systemd-analyze", "verify", "--man=no", "/tmp/check.service"], check=False)
    assert verified.stderr == "" and verified.rc == 0, verified.stderr
    # And Stem takes the very values that systemd takes.
    workers = Workers(box)
    words = [word for line in lines for word in ("--property", line)]
    workers.multi("enable", "a", "--app", EFFECTS, *words)
    written = box.read("/etc/systemd/system/stem-worker@a.service.d/50-stem-multi.conf")
    assert all(line in written.splitlines() for line in lines), written


def test_options_can_be_said_for_nodes_of_a_name(box):
    workers = Workers(box)
    workers.multi("start", "web-1", "web-2", "mail", "--app", EFFECTS, "-c", "2", "-c:web-1", "5", "-q:web-*", "pages")
    health = {node: workers.health(node) for node in ("web-1", "web-2", "mail")}
    assert health["web-1"]["queues"] == health["web-2"]["queues"] == ["pages"] and health["mail"]["queues"] == ["default"]
    status = workers.status()
    assert [status[node]["status"].split(" ")[0] for node in ("web-1", "web-2", "mail")] == ["0/5", "0/2", "0/2"], status
    assert "no node of this call" in workers.multi("restart", "mail", "-c:web-9", "3", check=64).stderr


def test_no_time_at_all_asks_and_does_not_wait(box):
    workers = Workers(box)
    ran = workers.multi("start", "a", "b", "--app", EFFECTS, "--timeout", "0", check={0, 75})
    for node in ("a", "b"):
        box.wait_for_unit(f"stem-worker@{node}", "active/running")
    workers.multi("stop", "a", "b", "--timeout", "0", check={0, 75})
    for node in ("a", "b"):
        box.wait_for_unit(f"stem-worker@{node}", "inactive")


# ---- who may, and from where --------------------------------------------------------------------------------------


def test_the_polkit_rule_lets_the_group_manage_nodes_and_nothing_else(box):
    box.run(["useradd", "--create-home", "--groups", "stem", "deputy"], check={0, 9})
    box.linger_user("person")
    box.write("/etc/stem/stem.env", f"STEM_WORKER_APP={EFFECTS}\n", mode=0o644)
    workers = Workers(box, user="deputy")
    for action, words in (("start", "running"), ("reload", "reloaded"), ("restart", "running"), ("stop", "stopped")):
        ran = workers.multi(action, "a", "--system")
        assert f"a  {words}" in ran.stdout, ran.stdout
    ran = workers.multi("restart", "a", "--system", "--rolling")
    assert "a  running" in ran.stdout, ran.stdout
    assert "--user" in workers.multi("enable", "a", "--system", check=77).stderr
    assert "/run/systemd/system" in workers.multi("restart", "a", "--system", "-c", "2", check=77).stderr
    for unit in ("systemd-journald.service", "stem-worker@a.socket", "xstem-worker@a.service", "stem.slice",
                 "stem-worker@a\\x2fb.service"):
        refused = box.run(["systemctl", "--no-ask-password", "stop", unit], user="deputy", check=False)
        assert refused.rc != 0 and ("authentication required" in refused.stderr or "not loaded" in refused.stderr), (unit, refused)
    for command in (["kill", "stem-worker@a"], ["set-property", "stem-worker@a", "Nice=1"], ["daemon-reload"]):
        assert box.run(["systemctl", "--no-ask-password", *command], user="deputy", check=False).rc != 0, command
    # Without the group there is no rule.
    other = Workers(box, user="person", env={"XDG_RUNTIME_DIR": f"/run/user/{box.uid('person')}"})
    ran = other.multi("restart", "a", "--system", check=77)
    assert "group stem" in ran.stderr and "polkit" in ran.stderr and "sudo" in ran.stderr and "--user" in ran.stderr, ran.stderr


def remote(box):
    """The environment in which ssh is a stand-in that stays on this machine, and writes down how it was called."""
    box.write("/opt/ssh/ssh", '#!/bin/sh\nprintf "%s\\n" "$*" >>/tmp/ssh.calls\ncase "$*" in *nowhere*) exit 255;; esac\n'
              "exec systemd-stdio-bridge\n", mode=0o755)
    box.run(["rm", "-f", "/tmp/ssh.calls"])
    return {"PATH": f"/opt/ssh:{PATH}"}


def test_nodes_of_another_machine_are_managed_over_ssh(box):
    box.write("/etc/stem/stem.env", f"STEM_WORKER_APP={EFFECTS}\n", mode=0o644)
    workers = Workers(box, env=remote(box))
    ran = workers.multi("start", "a", "b", "--host", "me@far:2222")
    pid = workers.pid("a")
    assert f"a  running, pid {pid} (" in ran.stdout, ran.stdout
    assert "-p 2222 -- me@far systemd-stdio-bridge" in box.read("/tmp/ssh.calls"), box.read("/tmp/ssh.calls")
    answer = workers.multi("status", "--host", "far", "--json").json()
    assert answer["supervisor"] == "systemd on far"
    a = {node["node"]: node for node in answer["nodes"]}["a"]
    assert a["pid"] == pid and (a["memoryBytes"] is None or a["memoryBytes"] > 100_000) and 0 <= a["uptimeSeconds"] < 60 and "busy" in a["status"], a
    assert "a  reloaded" in workers.multi("reload", "a", "--host", "far").stdout
    assert workers.multi("stop", "--all", "--host", "far").stdout.count("  stopped (") == 2
    box.write("/etc/stem/a.env", "wrong\n", mode=0o644)
    ran = workers.multi("start", "a", "--host", "far", check=78)
    assert "more: ssh far journalctl -u stem-worker@a.service" in ran.stderr, ran.stderr


def test_what_cannot_be_done_on_another_machine_is_refused_with_a_clear_line(box):
    workers = Workers(box, env=remote(box))
    for words, why in ((["start", "a", "-c", "3"], "/etc/stem/NODE.env of far"), (["restart", "a", "--reset"], "/etc/stem/NODE.env"),
                       (["enable", "a", "--app", "/x.so"], "--host cannot write"), (["logs", "a"], "ssh far journalctl"),
                       (["start", "a", "--user"], "log in there"), (["stop", "a", "--supervisor", "start-stop-daemon"], "log in there")):
        ran = workers.multi(*words, "--host", "far", check=64)
        assert why in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr
    for bad in ("-oProxyCommand=evil", "a b", "a/b"):
        assert "is no [USER@]HOST" in workers.multi("status", f"--host={bad}", check=64).stderr
    assert not box.exists("/tmp/ssh.calls")
    for action in ("status", "stop"):
        ran = workers.multi(action, "a", "--host", "nowhere", check=69)
        assert "nowhere" in ran.stderr and "ssh" in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr


def test_without_a_bus_the_state_is_still_shown_and_the_rest_says_what_is_missing(box):
    workers = Workers(box)
    workers.start("a")
    box.run(["systemctl", "stop", "dbus.socket", "dbus.service"])
    try:
        assert workers.status()["a"]["state"] == "running"
        for action in ("stop", "restart", "enable"):
            ran = workers.multi(action, "a", check=69)
            assert "system bus" in ran.stderr and "dbus" in ran.stderr and len(ran.stderr.splitlines()) == 1, ran.stderr
    finally:
        box.run(["systemctl", "start", "dbus.socket", "dbus.service"])
    assert workers.status()["a"]["state"] == "running"


def test_a_bare_module_name_is_an_installed_module_first(box):
    directory = box.run(["pkg-config", "--variable=moduledir", "stem"]).stdout.strip()
    assert directory.startswith("/usr/lib"), directory
    workers = Workers(box)
    box.run(f"mkdir -p {directory} && cp {EFFECTS} {directory}/libinstalled.so")
    try:
        workers.multi("start", "a", "--app", "libinstalled.so")
        assert f"{directory}/libinstalled.so" in box.run(["cat", f"/proc/{workers.pid('a')}/cmdline"]).stdout
        box.run(["systemctl", "restart", "stem-worker@a"])
        box.write("/etc/stem/b.env", "STEM_WORKER_APP=libinstalled.so\n", mode=0o644)
        workers.multi("start", "b")
        box.write("/etc/stem/c.env", "STEM_WORKER_APP=libnone.so\n", mode=0o644)
        assert f"neither in {directory} nor here" in workers.multi("start", "c", check=66).stderr
    finally:
        box.run(["rm", "-rf", directory])
