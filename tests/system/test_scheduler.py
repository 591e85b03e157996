"""The scheduler as a service: what systemd does with one that lives, hangs or dies."""

import json
import os
import random
import re
import signal
import subprocess
import time

from box import allow, execute, wait_until
from workers import Workers

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
    assert any("none, last, all" in (entry.get("MESSAGE") or "") for entry in box.journal(None, "SYSLOG_IDENTIFIER=stem"))
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


def test_schedules_are_applied_run_by_workers_disabled_and_deleted(box):
    schedulers, workers = Schedulers(box), Workers(box)
    workers.start("a")
    schedulers.start()
    box.write("/root/s.yaml", "- name: tick\n  task: effect.append\n  schedule: every:200ms\n"
              "  args: {file: /var/lib/stem/out, text: tick}\n- name: rare\n  task: effect.append\n  schedule: '@yearly'\n")
    box.run(["stem", "schedule", "apply", "--file", "/root/s.yaml"], check=64)  # nobody to ask
    ran = box.run(["stem", "schedule", "apply", "--file", "/root/s.yaml", "--yes"])
    assert "2 added" in ran.stdout, ran
    assert "2 unchanged" in box.run(["stem", "schedule", "apply", "--file", "/root/s.yaml", "--yes"]).stdout
    wait_until(lambda: box.exists("/var/lib/stem/out") and len(box.read("/var/lib/stem/out").split()) >= 3, 10, "it runs")
    wait_until(lambda: "2 schedules" in schedulers.status(), 10, "the status tells")
    listed = box.run(["stem", "schedule", "list"]).lines()
    assert re.search(r"^rare +effect.append +- +@yearly +in \d+d", listed[1]), listed
    assert re.search(r"^tick +effect.append +- +every 200ms +(in .*|now|.* ago) +.*  on$", listed[2]), listed
    box.run(["stem", "schedule", "disable", "tick"])
    rows = {row["name"]: row for row in box.run(["stem", "schedule", "list", "--json"]).json()}
    assert rows["tick"]["status"]["state"] == "off" and rows["tick"]["status"]["nextRunAt"] is None, rows
    wait_until(lambda: all(q["ready"] + q["leased"] == 0 for q in box.run(["stem", "queues", "--json"]).json()), 10, "all have run")
    status = box.run(["stem", "schedule", "show", "tick"]).json()["status"]
    assert len(box.read("/var/lib/stem/out").split()) == status["runs"], status
    box.run(["stem", "schedule", "delete", "tick", "--yes"])
    assert box.run(["stem", "schedule", "show", "tick"], check=64).stderr.count("no schedule 'tick'") == 1


def test_without_a_store_schedules_are_a_file(stage, tmp):
    env = stage.environment(STEM_SCHEDULE_FILE=str(tmp / "mine.json"))

    def stem(*words, rc=0, input=None):
        ran = execute(["stem", "schedule", *words], env=env, input=input)
        assert ran.rc == rc, f"{words}: {ran}"
        return ran

    given = "- {name: a, task: t, schedule: 'every:5m'}\n- {name: b, task: t, schedule: '0 4 * * *', timezone: Europe/Berlin}\n"
    ran = stem("apply", "-f", "-", "--dry-run", input=given)
    assert "dry run: nothing was done" in ran.stdout and not (tmp / "mine.json").exists(), ran
    ran = stem("apply", "-f", "-", "-y", input=given)
    assert "+ a" in ran.stdout and "2 added" in ran.stdout and "which no scheduler reads" in ran.stderr, ran
    ran = stem("apply", "-f", "-", "-y", "--json", input=given.replace("5m", "6m"))
    assert json.loads(ran.stdout) == {"added": [], "changed": ["a"], "unchanged": ["b"], "removed": [], "applied": True}
    assert "~ a\n    enabled: true -> false\n1 changed" in stem("disable", "a").stdout
    assert [row["name"] for row in stem("list", "--json").json()] == ["a", "b"]
    assert stem("dry-run", "b", "--from", "2025-03-29T12:00:00Z", "--count", "2").lines() == [
        "2025-03-30T04:00:00.000+02:00", "2025-03-31T04:00:00.000+02:00"]
    stem("delete", "a", "b", "--yes")
    assert json.loads((tmp / "mine.json").read_text()) == {"version": 1, "schedules": []}
    assert "no schedule" in stem("list").stdout
    assert "standard input:1: schedule 'a': unknown key 'tusk'; did you mean task?" in stem(
        "apply", "-f", "-", rc=65, input="- {name: a, tusk: t}\n").stderr
    stem("apply", "-f", str(tmp / "none.yaml"), rc=66)
    stem("apply", "-f", str(tmp), rc=66)
    stem("dry-run", rc=64)
    stem("dry-run", "--spec", "* * *", rc=65)
    stem("dry-run", "--spec", "@daily", "--count", "0", rc=64)


def test_many_who_apply_files_at_the_same_time_all_succeed(stage, tmp):
    env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db")
    assert execute(["stem", "schedule", "list"], env=env).rc == 0
    for n in range(6):
        (tmp / f"{n}.yaml").write_text(f"- {{name: s{n}, task: t, schedule: '@daily'}}\n")
    running = [subprocess.Popen(["stem", "schedule", "apply", "-f", str(tmp / f"{n}.yaml"), "-y"], env=env, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for n in range(6)]
    said = [process.communicate(timeout=50)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 6, said
    assert len(execute(["stem", "schedule", "list", "--json"], env=env).json()) == 6, said


# One scheduler leads, one stands by; whichever leads is killed, again and again, while a worker runs what they publish.
@allow(seconds=150)
def test_after_kills_of_the_leader_every_slot_has_run_exactly_once(stage, tmp):
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    chance = random.Random(seed)
    env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run",
                            STEM_SCHEDULER_LOCK_PERIOD="1s", STEM_SCHEDULER_CATCH_UP="all")
    log = open(tmp / "log", "ab")

    def start(*words):
        return subprocess.Popen(["stem", *words], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stem(*words, **more):
        ran = execute(["stem", *words], env=env, **more)
        assert ran.rc == 0, f"{words}: {ran}\n{(tmp / 'log').read_text()[-3000:]}"
        return ran

    def is_up(name):
        health = json.loads(execute(["stem", "scheduler", "healthcheck", "--node", name, "--json"], env=env).stdout)
        return health["status"] == "ok"

    (tmp / "s.json").write_text(json.dumps({"schedules": [
        {"name": f"s{n}", "task": "effect.append", "schedule": "every:100ms",
         "args": {"file": str(tmp / "effects"), "text": f"s{n}"}} for n in range(5)]}))
    stem("schedule", "apply", "-f", str(tmp / "s.json"), "--yes")
    processes = {"worker": start("worker", "start", "--concurrency", "4", "--app", str(stage.built("tests/modules/libeffects.so")))}
    for name in ("one", "two"):
        processes[name] = start("scheduler", "start", "--node", name)
    try:
        for name in ("one", "two"):
            wait_until(lambda: is_up(name), 20, f"{name} is up")
        for _ in range(10):
            time.sleep(0.3 + chance.random() * 1.2)  # the instant is the experiment
            victim = chance.choice(("one", "two"))
            if chance.random() < 0.3:  # it hangs until another leads, and then goes on where it was
                processes[victim].send_signal(signal.SIGSTOP)
                time.sleep(2.2)
                processes[victim].send_signal(signal.SIGCONT)
                continue
            processes[victim].kill()
            processes[victim].wait()
            processes[victim] = start("scheduler", "start", "--node", victim)
        stem("schedule", "disable", *(f"s{n}" for n in range(5)))
        wait_until(lambda: sum(q["ready"] + q["delayed"] + q["leased"] for q in stem("queues", "--json").json()) == 0, 30,
                   f"all jobs have ended (seed {seed})")
        text = (tmp / "effects").read_text().split()
        for row in stem("schedule", "list", "--json").json():
            name, status = row["name"], row["status"]
            seen = text.count(name)
            since = stem("schedule", "show", name).json()["status"]["createdAt"]
            passed = round((instant(status["lastSlot"]) - instant(since)) / 0.1)
            assert status["runs"] == passed, f"{name}: {status['runs']} runs of {passed} slots (seed {seed})"
            assert seen == passed, f"{name}: {seen} effects of {passed} slots (seed {seed})"
            assert passed > 50, f"{name}: only {passed} slots: this proved nothing"
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
        log.close()


def instant(text):
    from datetime import datetime
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_person_has_a_scheduler_of_their_own(box):
    env = box.linger_user("ada")
    ran = box.run(["systemd-analyze", "--user", "verify", "--man=no", f"/usr/lib/systemd/user/{UNIT}.service"], user="ada", env=env)
    assert not ran.stdout and not ran.stderr, ran
    box.run(["systemctl", "--user", "start", UNIT], user="ada", env=env)
    pid = box.wait_for_unit(UNIT, "active/running", user="ada")
    health = box.run(["stem", "scheduler", "healthcheck", "--user", "--json"], user="ada", env=env).json()
    assert health["status"] == "ok" and health["pid"] == pid and health["supervisor"] == "systemd --user", health
    box.write("/home/ada/s.json", '[{"name": "a", "task": "t", "schedule": "every:100ms"}]')
    box.run(["stem", "schedule", "apply", "-f", "/home/ada/s.json", "--yes"], user="ada", env=env)
    wait_until(lambda: any(q["ready"] for q in box.run(["stem", "queues", "--json"], user="ada", env=env).json()), 10, "jobs come")
    box.run(["systemctl", "--user", "stop", UNIT], user="ada", env=env)


def test_a_store_that_others_keep_busy_for_long_is_waited_for(box):
    schedulers = Schedulers(box)
    box.write("/etc/stem/scheduler.env", "STEM_BROKER_URL=sqlite:///var/lib/stem/sub/stem.db\n", mode=0o644)
    box.run(["install", "-d", "-o", "stem", "-g", "stem", "/var/lib/stem/sub"])
    pid = schedulers.start()
    # Another process keeps the database to itself for longer than a writer waits.
    hold = ("import sqlite3, time; db = sqlite3.connect('/var/lib/stem/sub/stem.db', isolation_level=None); "
            "db.execute('BEGIN IMMEDIATE'); time.sleep(14); db.execute('ROLLBACK')")
    box.run(["python3", "-c", hold], user="stem", timeout=40)
    wait_until(lambda: schedulers.health(check={0, 1})["status"] == "ok", 20, "it is well again")
    assert box.wait_for_unit(UNIT, "active/running") == pid, "the same process"
    wait_until(lambda: schedulers.status().startswith("leading"), 20, "it leads again")
