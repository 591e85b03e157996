"""`stem worker multi` on a real systemd."""

import json
import subprocess
import time

from box import allow, wait_until
from workers import EFFECTS, Workers


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
    for bad in ("../../etc/x", "a b", "%n", "", "a" * 129, "a/b", "-x", "a\nb"):
        ran = workers.multi("start", "fine", "--app", EFFECTS, "--", bad, check=64)
        assert ran.stdout == "" and len(ran.stderr.splitlines()) == 1, ran.stderr
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


def test_two_starts_of_one_node_at_once_are_one_start(box):
    workers = Workers(box)
    workers.start("a")
    workers.multi("stop", "a")
    starts = [box.start(["stem", "worker", "multi", "start", "a"]) for _ in range(5)]
    assert [start.wait(20) for start in starts] == [0] * 5
    assert len(workers.processes("a")) == 1


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


@allow(seconds=120)
def test_more_nodes_than_a_bus_has_open_questions(box):
    # dbus-daemon refuses a connection's 129th. What is run is a stand-in, for 200 workers would only take longer.
    workers = Workers(box)
    box.write("/opt/stand-in", "#!/bin/sh\nsystemd-notify --ready --status=fine\nexec sleep 1000\n", mode=0o755)
    workers.drop_in("[Service]\nExecStart=\nExecStart=/opt/stand-in\nNotifyAccess=all\nWatchdogSec=0\n"
                    "PrivateTmp=no\nPrivateDevices=no\nProtectSystem=no\nPrivateUsers=no\n")
    nodes = [f"n{n}" for n in range(200)]
    ran = workers.multi("start", *nodes, timeout=100)
    assert ran.stdout.count("  running, pid ") == 200, ran.stdout
    states = workers.status()
    assert len(states) == 200 and all(state["status"] == "fine" for state in states.values())
    assert workers.multi("stop", *nodes, timeout=100).stdout.count("  stopped (") == 200


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
