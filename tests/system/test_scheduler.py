"""The scheduler as a service: what systemd does with one that lives, hangs or dies."""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
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


@contextlib.contextmanager
def redis_server(tmp):
    """The address of a Redis of one's own."""
    path = tmp / "redis.sock"
    server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--dir", tmp, "--save", "", "--appendonly", "yes"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: execute(["redis-cli", "-s", str(path), "ping"]).stdout.strip() == "PONG", 20, "Redis answers")
        yield f"redis+socket://{path}"
    finally:
        server.kill()
        server.wait()


class Processes:
    """Programs of the host over one store; each has a log of its own."""

    def __init__(self, stage, tmp, url, **more):
        self.tmp, self.running = tmp, {}
        self.env = stage.environment(STEM_BROKER_URL=url, STEM_RUNTIME_DIR=f"{tmp}/run", **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait()

    def start(self, name, *words):
        with open(self.tmp / f"{name}.log", "ab") as log:
            self.running[name] = subprocess.Popen(["stem", *words], env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_scheduler(self, name):
        self.start(name, "scheduler", "start", "--node", name)

    def kill(self, name):
        self.running[name].kill()
        self.running[name].wait()

    def log(self, name):
        return (self.tmp / f"{name}.log").read_text(errors="replace")

    def terms(self, name):
        """How often it has begun to lead."""
        return self.log(name).count("leading: this scheduler publishes from now on")

    def is_up(self, name):
        return json.loads(self.run("scheduler", "healthcheck", "--node", name, "--json", rc=None).stdout)["status"] == "ok"

    def run(self, *words, rc=0, **more):
        ran = execute(["stem", *words], env=self.env, **more)
        logs = "".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in self.running)
        assert rc is None or ran.rc == rc, f"{words}: {ran}\n{logs}"
        return ran


def seeded():
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    return seed, random.Random(seed)


# One scheduler leads, one stands by; whichever leads is killed, or stopped and let go on, again and again, while a worker
# runs what they publish.
@allow(seconds=150)
def test_after_kills_of_the_leader_every_slot_has_run_exactly_once(stage, tmp):
    every_slot_runs_once(stage, tmp, f"sqlite://{tmp}/stem.db")


@allow(seconds=150)
def test_after_kills_of_the_leader_every_slot_has_run_exactly_once_on_redis(stage, tmp):
    with redis_server(tmp) as url:
        every_slot_runs_once(stage, tmp, url)


# Here the record follows the job; the next leader has to find out what the killed one had published.
@allow(seconds=150)
def test_after_kills_of_the_leader_no_slot_has_run_twice_where_schedules_are_in_another_system(stage, tmp):
    seed, chance = seeded()
    with five_schedules(stage, tmp, f"sqlite://{tmp}/stem.db", STEM_SCHEDULE_STORE_URL=f"sqlite://{tmp}/schedules.db") as all:
        disturb(all, chance, hangs=0)
        names = settled(all, seed)
        jobs = [key for key, in sqlite3.connect(tmp / "stem.db").execute("SELECT key FROM entry WHERE key LIKE 'result:%'")]
        for name, status in names.items():
            slots = sum(key.startswith(f"result:{name}@") for key in jobs)
            seen = effects(tmp, name)
            assert seen == slots >= status["runs"] > 50, f"{name}: {seen} effects of {slots} slots, {status['runs']} noted (seed {seed})"


def every_slot_runs_once(stage, tmp, url):
    seed, chance = seeded()
    with five_schedules(stage, tmp, url) as all:
        disturb(all, chance, hangs=0.4)
        for name, status in settled(all, seed).items():
            passed = round((instant(status["lastSlot"]) - instant(status["createdAt"])) / 0.1)
            assert status["runs"] == passed, f"{name}: {status['runs']} runs of {passed} slots (seed {seed})"
            assert effects(tmp, name) == passed, f"{name}: {effects(tmp, name)} effects of {passed} slots (seed {seed})"
            assert passed > 50, f"{name}: only {passed} slots: this proved nothing"


@contextlib.contextmanager
def five_schedules(stage, tmp, url, **more):
    """Two schedulers, a worker, and five schedules of ten jobs a second."""
    with Processes(stage, tmp, url, STEM_SCHEDULER_LOCK_PERIOD="1s", STEM_SCHEDULER_CATCH_UP="all", **more) as all:
        (tmp / "s.json").write_text(json.dumps({"schedules": [
            {"name": f"s{n}", "task": "effect.append", "schedule": "every:100ms",
             "args": {"file": str(tmp / "effects"), "text": f"s{n}"}} for n in range(5)]}))
        all.run("schedule", "apply", "-f", str(tmp / "s.json"), "--yes")
        all.start("worker", "worker", "start", "--concurrency", "4", "--app", str(stage.built("tests/modules/libeffects.so")))
        for name in ("one", "two"):
            all.start_scheduler(name)
        for name in ("one", "two"):
            wait_until(lambda: all.is_up(name), 20, f"{name} is up")
        yield all


def disturb(all, chance, hangs):
    """Twelve times, and until the lead has changed: who is hit by chance need not be the one that leads."""
    changed = lambda: all.terms("one") + all.terms("two") >= 3
    for times in range(60):
        if times >= 12 and changed():
            break
        time.sleep(0.1 + chance.random() * 1.4)  # the instant is the experiment
        victim = chance.choice(("one", "two"))
        if chance.random() < hangs:  # it is stopped, perhaps until another leads, and then goes on where it was
            all.running[victim].send_signal(signal.SIGSTOP)
            time.sleep(0.5 + chance.random() * 2)
            all.running[victim].send_signal(signal.SIGCONT)
            continue
        all.kill(victim)
        all.start_scheduler(victim)
    assert changed(), "the lead has changed"


def settled(all, seed):
    """What became of each schedule, once all are disabled and their jobs have ended."""
    all.run("schedule", "disable", *(f"s{n}" for n in range(5)))
    # Nothing is published after that, so the counts are final.
    names = {row["name"]: row["status"] for row in all.run("schedule", "list", "--json").json()}
    wait_until(lambda: sum(q["ready"] + q["delayed"] + q["leased"] for q in all.run("queues", "--json").json()) == 0, 60,
               f"all jobs have ended (seed {seed})")
    assert {row["name"]: row["status"] for row in all.run("schedule", "list", "--json").json()} == names, seed
    return names


def effects(tmp, name):
    return (tmp / "effects").read_text().split().count(name)


@allow(seconds=120)
def test_another_leads_within_two_lock_periods_of_the_leaders_end(stage, tmp):
    with redis_server(tmp) as redis:
        for kind, url in (("sqlite", f"sqlite://{tmp}/stem.db"), ("redis", redis)):
            for number in (signal.SIGKILL, signal.SIGSTOP):
                place = tmp / f"{kind}-{number.name}"
                place.mkdir()
                another_takes_over(stage, place, url, number)


def another_takes_over(stage, tmp, url, number):
    period = 3
    with Processes(stage, tmp, url, STEM_SCHEDULER_LOCK_PERIOD=f"{period}s") as all:
        for name in ("one", "two"):
            all.start_scheduler(name)
        wait_until(lambda: all.is_up("one") and all.is_up("two"), 20, "both are up")
        wait_until(lambda: all.terms("one") + all.terms("two") == 1, 20, "one leads")
        leader, other = ("one", "two") if all.terms("one") else ("two", "one")
        wait_until(lambda: "standing by" in all.log(other), 20, "the other stands by")
        time.sleep(0.7)  # somewhere between two renewals
        began = time.monotonic()
        all.running[leader].send_signal(number)
        wait_until(lambda: all.terms(other) == 1, 20, "the other leads")
        took = time.monotonic() - began
        assert took <= 2 * period, f"{url} {number.name}: {took:.1f} s"
        if number == signal.SIGSTOP:
            all.running[leader].send_signal(signal.SIGCONT)
            wait_until(lambda: "no longer leading" in all.log(leader), 20, "it notices")
            assert all.terms(leader) == 1 and all.terms(other) == 1
        # For the next pair the lock is free.
        all.running[other].terminate()
        all.running[other].wait(20)


@allow(seconds=120)
def test_an_apply_that_is_killed_has_done_all_or_nothing_and_one_that_is_repeated_nothing_more(stage, tmp):
    apply_is_whole(stage, tmp, f"sqlite://{tmp}/stem.db")


@allow(seconds=120)
def test_an_apply_is_whole_on_redis_too(stage, tmp):
    with redis_server(tmp) as url:
        apply_is_whole(stage, tmp, url)


def apply_is_whole(stage, tmp, url):
    seed, chance = seeded()
    count = 500
    with Processes(stage, tmp, url) as all:
        for every in ("1m", "2m"):
            (tmp / every).write_text(json.dumps([{"name": f"s{n}", "task": "t", "schedule": f"every:{every}"} for n in range(count)]))
        began = time.monotonic()
        assert f"{count} added" in all.run("schedule", "apply", "-f", str(tmp / "1m"), "-y").stdout
        whole = time.monotonic() - began
        assert f"{count} unchanged" in all.run("schedule", "apply", "-f", str(tmp / "1m"), "-y").stdout
        seen = set()
        for n in range(12):
            running = subprocess.Popen(["stem", "schedule", "apply", "-f", str(tmp / ("1m", "2m")[n % 2]), "-y"], env=all.env,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(whole * (0.3 + chance.random()))  # the instant is the experiment
            running.kill()
            running.wait()
            kinds = [row["schedule"]["every"] for row in all.run("schedule", "list", "--json").json()]
            assert len(kinds) == count and len(set(kinds)) == 1, f"{len(kinds)} of {set(kinds)} (seed {seed})"
            seen.add(kinds[0])
        before = all.run("schedule", "list", "--json").stdout
        rows = [f"- name: s{n}\n  task: t\n  schedule: every:{'3m' if n != 400 else '3parsecs'}\n" for n in range(count)]
        (tmp / "bad.yaml").write_text("".join(rows))
        failed = all.run("schedule", "apply", "-f", str(tmp / "bad.yaml"), "-y", rc=65)
        assert f"{tmp}/bad.yaml:{400 * 3 + 3}: schedule 's400': every: '3parsecs' is not a duration" in failed.stderr, failed
        unseen = [{k: v for k, v in row.items() if k != "status"} for row in json.loads(before)]
        after = [{k: v for k, v in row.items() if k != "status"} for row in all.run("schedule", "list", "--json").json()]
        assert after == unseen, "nothing was applied"


def test_a_scheduler_says_when_a_run_and_its_record_cannot_be_one_commit(stage, tmp):
    warning = "jobs and schedules are kept in two systems"
    (tmp / "link.db").symlink_to(tmp / "jobs.db")
    for name, store, warned in (("a", tmp / "other.db", True), ("b", tmp / "link.db", False), ("c", tmp / "jobs.db", False)):
        with Processes(stage, tmp, f"sqlite://{tmp}/jobs.db", STEM_SCHEDULE_STORE_URL=f"sqlite://{store}") as all:
            all.start_scheduler(name)
            wait_until(lambda: all.is_up(name), 20, f"{name} is up")
            assert (warning in all.log(name)) == warned, all.log(name)


def test_the_name_of_a_scheduler_stands_in_the_names_of_its_files(stage, tmp):
    (tmp / "mine.env").write_text("STEM_SCHEDULER_CATCH_UP=some\n")
    env = stage.environment(STEM_ENV_FILE=f"{tmp}/%n.env", STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run")
    failed = execute(["stem", "scheduler", "start", "--node", "mine"], env=env, timeout=20)
    assert failed.rc == 78 and "STEM_SCHEDULER_CATCH_UP" in failed.stderr, failed


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
