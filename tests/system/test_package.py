"""What is installed beside the program, in use: catalog, log rotation, stem.env, drop-ins, the tree in an empty root."""

import gzip
import re
import shutil
import subprocess
from pathlib import Path

from box import Skip, allow, wait_until
from workers import EFFECTS, Workers

# Prints numbered lines until it is told to end, and one more then.
COUNTER = """
import itertools, signal, sys, time
going = True
def end(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGHUP, lambda *_: None)
for number in itertools.count(1):
    print(f"line {number}", flush=True)
    if not going:
        print("last", flush=True)
        break
    time.sleep(0.001)
"""


def explained(box, unit, since):
    """The entries of a unit since a cursor, with what `journalctl -x` adds to them."""
    box.run(["journalctl", "--sync"])
    return box.run(["journalctl", "-x", "--no-pager", "-u", unit, f"--cursor={since}"]).stdout


def test_the_journal_explains_a_wrong_configuration(box):
    since = box.cursor()
    box.write("/etc/stem/x.env", "nonsense\n")
    box.run(["systemctl", "start", "stem-worker@x"], check=1)
    text = explained(box, "stem-worker@x", since)
    assert "Subject: Stem was not started: its command line or configuration is wrong" in text, text
    assert "systemctl cat stem-worker@x.service" in text and "/etc/stem/x.env:1: " in text, text
    box.write("/etc/stem/x.env", "STEM_WORKER_APP=/nowhere.so\n")
    since = box.cursor()
    box.run(["systemctl", "start", "stem-worker@x"], check=1)
    entries = [entry for entry in box.journal("stem-worker@x", since=since) if entry.get("MESSAGE_ID") == "26b839ca054b4d5b979d0756463570a7"]
    assert len(entries) == 1 and "/nowhere.so" in entries[0]["MESSAGE"] and entries[0]["PRIORITY"] == "3", entries


@allow(seconds=90)
def test_the_journal_explains_a_watchdog_kill(box):
    since = box.cursor()
    workers = Workers(box)
    workers.drop_in("[Service]\nWatchdogSec=5\nRestartSec=500ms\n")
    box.write("/etc/stem/stem.env", "STEM_TASK_TIME_LIMIT=1s\nSTEM_DEFAULT_MAX_RETRIES=0\nSTEM_WORKER_CONCURRENCY=1\n")
    workers.start("a")
    pid = workers.pid("a")
    workers.enqueue("effect.hang")
    workers.replaced("a", pid, 40)
    text = explained(box, "stem-worker@a", since)
    assert "Subject: a makes no progress; its watchdog will end it" in text, text
    assert "Failed with result 'watchdog'" in text
    # systemd's own entry is explained by systemd, ours by us, and ours comes first.
    assert text.index("a makes no progress") < text.index("Failed with result 'watchdog'") < text.index("Subject: Unit failed")


def hold_queue(box):
    """A process that nobody can write beside to the embedded queue."""
    holder = box.start(["python3", "-c", "import sqlite3, sys, time; db = sqlite3.connect('/var/lib/stem/stem.db', isolation_level=None);"
                        "db.execute('BEGIN EXCLUSIVE'); print('held', flush=True); time.sleep(1000)"], user="stem", stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    return holder


@allow(seconds=90)
def test_the_journal_explains_a_lost_broker_and_its_return(box):
    since = box.cursor()
    workers = Workers(box)
    box.write("/etc/stem/stem.env", "STEM_BROKER_URL=sqlite:///var/lib/stem/stem.db?busy_timeout=200ms\n")
    workers.start("a")
    pid = workers.pid("a")
    workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "x", "ms": 3000}')
    wait_until(lambda: workers.health("a")["inflight"] == 1, what="a job runs, which is to be settled")
    holder = hold_queue(box)
    wait_until(lambda: "Subject: The broker of a does not answer" in explained(box, "stem-worker@a", since), 60, "it is explained", 0.5)
    assert workers.pid("a") == pid and box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "active"
    holder.kill()
    box.run("pkill -KILL -f '[B]EGIN EXCLUSIVE'", check={0, 1})
    wait_until(lambda: "Subject: The broker of a answers again" in explained(box, "stem-worker@a", since), 30, "it is back", 0.5)
    assert workers.pid("a") == pid


def test_the_journal_explains_a_reload_that_was_refused(box):
    workers = Workers(box)
    workers.start("a")
    pid, since = workers.pid("a"), box.cursor()
    box.write("/etc/stem/a.env", "STEM_LOG_LEVEL=loud\n")
    workers.multi("reload", "a", check=78)
    text = explained(box, "stem-worker@a", since)
    assert "Subject: a kept its former configuration" in text and "STEM_LOG_LEVEL" in text, text
    assert workers.pid("a") == pid and workers.health("a")["status"] == "ok"


@allow(seconds=90)
def test_the_journal_explains_jobs_that_were_left_behind(box):
    """It cannot give the job back, since it hangs in a call to its broker."""
    workers = Workers(box)
    box.write("/etc/stem/stem.env", "STEM_DRAIN_LIMIT=1s\nSTEM_BROKER_URL=sqlite:///var/lib/stem/stem.db?busy_timeout=10s\n")
    workers.start("a")
    workers.enqueue("effect.hang")
    wait_until(lambda: workers.health("a")["inflight"] == 1, what="the job hangs")
    since = box.cursor()
    hold_queue(box)
    box.run(["systemctl", "stop", "stem-worker@a"], timeout=60)
    text = explained(box, "stem-worker@a", since)
    assert "Subject: a ended while jobs still ran" in text and "raise STEM_DRAIN_LIMIT" in " ".join(text.split()), text
    box.run("pkill -KILL -f '[B]EGIN EXCLUSIVE'", check={0, 1})
    assert workers.left() == 1


@allow(seconds=120)
def test_the_journal_explains_a_broker_that_never_answered(box):
    """The worker gives up after five minutes: its clock is put forward by six, once it waits."""
    box.write("/opt/ahead.c", """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t clock, struct timespec* now) {
          static int (*real)(clockid_t, struct timespec*);
          if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
          int result = real(clock, now);
          if (clock == CLOCK_MONOTONIC && access("/run/stem/ahead", F_OK) == 0) now->tv_sec += 360;
          return result;
        }
    """)
    box.run(["gcc", "-shared", "-fPIC", "-O1", "-o", "/opt/ahead.so", "/opt/ahead.c"])
    workers = Workers(box)
    workers.drop_in("[Service]\nEnvironment=LD_PRELOAD=/opt/ahead.so\nRestart=no\nWatchdogSec=0\n")
    box.write("/etc/stem/stem.env", f"STEM_BROKER_URL=redis://127.0.0.1:9/0\nSTEM_WORKER_APP={EFFECTS}\n")
    since = box.cursor()
    box.run(["systemctl", "start", "--no-block", "stem-worker@a"])
    wait_until(lambda: "Connection refused" in box.properties("stem-worker@a", "StatusText")["StatusText"], what="it waits for its broker")
    box.write("/run/stem/ahead", "")
    box.wait_for_unit("stem-worker@a", "failed", 60)
    assert box.properties("stem-worker@a", "ExecMainStatus") == {"ExecMainStatus": "69"}
    text = explained(box, "stem-worker@a", since)
    assert "Subject: The broker of a does not answer" in text and "Subject: a gave up: its broker never answered" in text, text


def numbers(machine, node):
    """The numbers of the lines in all log files of a node, oldest file first, in their order."""
    names = machine.run(f"ls /var/log/stem/{node}.log*").lines()
    found = []
    for name in sorted(names, key=lambda name: -int((re.search(r"\.log\.(\d+)", name) or [0, 0])[1])):
        text = machine.run(["zcat", "-f", name]).stdout
        found += [int(number) for number in re.findall(r"line (\d+)$", text, re.M)]
        last = text
    return found, last


def rotate(machine, *nodes, pid, times=3):
    for _ in range(times):
        ran = machine.run(["logrotate", "-f", "/etc/logrotate.d/stem"])
        assert not ran.stderr, ran.stderr
        for node in nodes:  # the worker has let go of the old file
            wait_until(lambda: not machine.run(f"ls -l /proc/{pid(node)}/fd | grep -F /var/log/stem/{node}.log.", check={0, 1}).stdout,
                       what=f"{node} writes the new file")


@allow(seconds=120)
def test_log_files_are_rotated_and_no_line_is_lost(box):
    if not shutil.which("logrotate"):
        raise Skip("logrotate is not installed")
    box.write("/srv/counter.py", COUNTER)
    workers = Workers(box)
    workers.multi("start", "count", "--command", "/usr/bin/python3 /srv/counter.py", "--logfile", "/var/log/stem/%n.log")
    workers.start("own", "--logfile", "/var/log/stem/%n%I.log")
    pids = {node: workers.pid(node) for node in ("count", "own")}
    wait_until(lambda: "line 100\n" in box.read("/var/log/stem/count.log"), what="it prints")
    rotate(box, "count", "own", pid=pids.get)
    last = box.read("/var/log/stem/count.log").count("\n")
    wait_until(lambda: box.read("/var/log/stem/count.log").count("\n") > last + 50, what="it goes on in the new file")
    workers.multi("stop", "count", "own")
    found, end = numbers(box, "count")
    assert found == list(range(1, len(found) + 1)) and len(found) > 300, f"{len(found)} lines, first gap near {next((a for a, b in enumerate(found, 1) if a != b), None)}"
    assert "\nlast\n" in end
    files = box.run("ls /var/log/stem").lines()
    assert {"count.log", "count.log.1", "count.log.2.gz", "count.log.3.gz", "own.log", "own.log.1"} <= set(files), files
    assert set(box.run("stat -c '%U %G %a' /var/log/stem/*").lines()) == {"stem stem 640"}
    assert "ended" in box.read("/var/log/stem/own.log")


def test_stem_env_is_made_once_and_not_overwritten(box):
    box.run("rm -f /etc/stem/stem.env && systemd-tmpfiles --create --prefix=/etc/stem")
    assert box.run(["stat", "-c", "%U %G %a", "/etc/stem/stem.env"]).stdout == "root stem 640\n"
    assert box.read("/etc/stem/stem.env") == box.read("/usr/share/stem/stem.env")
    box.run("echo STEM_LOG_LEVEL=debug >>/etc/stem/stem.env && systemd-tmpfiles --create --prefix=/etc/stem")
    assert "STEM_LOG_LEVEL=debug" in box.read("/etc/stem/stem.env")


@allow(seconds=120)
def test_each_drop_in_example_is_understood_and_lets_a_worker_do_its_work(box):
    workers = Workers(box)
    # Those of workers: the one of stem-metrics@.socket is tried with the metrics.
    examples = box.run("grep -L '^\\[Socket\\]' /usr/share/stem/drop-ins/* | xargs -n1 basename").lines()
    assert len(examples) >= 5, examples
    for number, example in enumerate(examples):
        unit = f"stem-worker@{number}.service"
        box.write(f"/etc/systemd/system/{unit}.d/{example}", box.read(f"/usr/share/stem/drop-ins/{example}"))
    box.run(["systemctl", "daemon-reload"])
    nodes = [str(number) for number in range(len(examples))]
    for node in nodes:
        ran = box.run(["systemd-analyze", "verify", "--man=no", f"stem-worker@{node}.service"])
        assert (ran.stdout + ran.stderr).strip() == "", f"{examples[int(node)]}: {ran.stdout}{ran.stderr}"
    for node in nodes:  # a queue of its own for each
        box.write(f"/etc/stem/{node}.env", f"STEM_WORKER_QUEUES=q{node}\nSTEM_WORKER_APP={EFFECTS}\n")
    workers.multi("start", *nodes)
    for node in nodes:
        workers.enqueue("effect.append", '{"file": "/var/lib/stem/out%s", "text": "x"}' % node, "--queue", f"q{node}", "--wait")
        assert box.exists(f"/var/lib/stem/out{node}"), examples[int(node)]


def test_somebody_is_told_when_a_worker_has_failed_for_good(box):
    """With the example as it is installed, and the unit that stands in its comment."""
    example = box.read("/usr/share/stem/drop-ins/tell-of-failure.conf")
    sample = re.search(r"^# +/etc/systemd/system/stem-failed@\.service:\n((?:#.*\n)+)", example, re.M)[1]
    unit = "".join(line.removeprefix("#").removeprefix("     ") + "\n" for line in sample.splitlines())
    box.write("/etc/systemd/system/stem-failed@.service", unit)
    box.write("/etc/systemd/system/stem-worker@.service.d/tell-of-failure.conf", example)
    box.run(["systemctl", "daemon-reload"])
    ran = box.run(["systemd-analyze", "verify", "--man=no", "stem-failed@x.service"])
    assert not (ran.stdout + ran.stderr).strip(), ran.stdout + ran.stderr
    since = box.cursor()
    box.write("/etc/stem/x.env", "nonsense\n")
    box.run(["systemctl", "start", "stem-worker@x"], check=1)
    told = wait_until(lambda: [entry["MESSAGE"] for entry in box.journal(None, "SYSLOG_IDENTIFIER=stem-failed", since=since)], what="it is told")
    assert len(told) == 1 and "stem-worker@x.service" in told[0], told


def test_a_worker_that_comes_back_by_itself_is_nothing_to_tell(box):
    """systemd 252 counts it as a failure only at the limit; 254 and later do so with what the example says for them."""
    example = box.read("/usr/share/stem/drop-ins/tell-of-failure.conf")
    if int(box.run(["systemctl", "--version"]).stdout.split()[1]) >= 254:
        example = re.sub(r"^#(\[Service\]|RestartMode=)", r"\1", example, flags=re.M)
    box.write("/etc/systemd/system/stem-failed@.service", "[Service]\nType=oneshot\nExecStart=/usr/bin/touch /run/told\n")
    box.write("/etc/systemd/system/stem-worker@.service.d/tell-of-failure.conf", example)
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartSec=100ms\n")
    box.run("rm -f /run/told")
    workers.start("a")
    pid = workers.pid("a")
    box.kill(pid)
    workers.replaced("a", pid, 20)
    assert not box.exists("/run/told")


@allow(seconds=120)
def test_the_tree_works_in_an_empty_root(box, stage):
    """`meson install` into nothing, then what a package's scripts do, with --root; the result boots and starts."""
    root = "/srv/empty"
    box.run(f"rm -rf {root} && mkdir -p {root}/etc {root}/var {root}/run && printf 'root:x:0:0::/root:/bin/sh\\n' >{root}/etc/passwd && "
            f"printf 'root:x:0:\\n' >{root}/etc/group")
    box.copy_in(stage.root, "/srv/tree")
    box.run(f"cp -a /srv/tree/. {root}/")
    box.run(["systemd-sysusers", f"--root={root}"])
    box.run(["systemd-tmpfiles", f"--root={root}", "--create"])
    user = [line for line in box.read(f"{root}/etc/passwd").splitlines() if line.startswith("stem:")][0].split(":")
    assert user[5] == "/var/lib/stem" and user[6].endswith("nologin"), user
    seen = {line.split()[0]: line.split()[1:] for line in box.run(
        f"cd {root} && stat -c '%n %u %g %a' run/stem var/lib/stem var/log/stem etc/stem etc/stem/stem.env").lines()}
    uid, gid = user[2], user[3]
    assert seen == {"run/stem": [uid, gid, "755"], "var/lib/stem": [uid, gid, "2770"], "var/log/stem": [uid, gid, "755"],
                    "etc/stem": ["0", gid, "750"], "etc/stem/stem.env": ["0", gid, "640"]}, seen
    box.run(["journalctl", f"--root={root}", "--update-catalog"])
    box.run(["systemctl", f"--root={root}", "enable", "stem-worker@web-1"])
    for target in ("multi-user", "stem"):
        link = box.run(["readlink", f"{root}/etc/systemd/system/{target}.target.wants/stem-worker@web-1.service"]).stdout.strip()
        assert link.endswith("/systemd/system/stem-worker@.service"), link
    box.run(f"rm -rf {root} /srv/tree")


def test_the_same_tree_starts_a_worker_after_a_boot(box):
    """The box is that: booted with the tree, its users and directories made by sysusers and tmpfiles alone."""
    box.run(["systemctl", "start", "stem-worker@web-1"], check=1)  # nothing to run yet: stem.env sets nothing
    box.run(f"sed -i 's|^#STEM_WORKER_APP=.*|STEM_WORKER_APP={EFFECTS}|' /etc/stem/stem.env")
    box.run(["systemctl", "start", "stem-worker@web-1"])
    assert box.run(["stem", "worker", "healthcheck", "--node", "web-1", "--json"]).json()["status"] == "ok"


@allow(seconds=120)
def test_log_files_are_rotated_without_systemd_and_no_line_is_lost(plain):
    """Once through `stem worker multi`, then with the init scripts: their nodes, the scheduler, and one that was started by hand."""
    if not shutil.which("logrotate"):
        raise Skip("logrotate is not installed")
    plain.write("/srv/stem/counter.py", COUNTER)
    plain.write("/etc/default/stem", "STEMD_NODES=count\nSTEMD_COMMAND='/usr/bin/python3 /srv/stem/counter.py'\n")

    def pid(node):
        return plain.read(f"/run/stem/{node}.pid").strip()

    def once(start, stop, *others):
        plain.run("rm -rf /var/log/stem")
        plain.run(start)
        if others:
            plain.run(["stem", "worker", "multi", "start", "by-hand", "--app", EFFECTS])
            plain.run(["/etc/init.d/stem-scheduler", "start"])
        wait_until(lambda: "line 100\n" in plain.read("/var/log/stem/count.log"), what="it prints")
        rotate(plain, "count", *others, pid=pid)
        wait_until(lambda: plain.read("/var/log/stem/count.log").count("\n") > 50, what="it goes on in the new file")
        plain.run(stop)
        found, end = numbers(plain, "count")
        assert found == list(range(1, len(found) + 1)) and len(found) > 150 and "\nlast\n" in end, len(found)
        assert set(plain.run("stat -c '%U %G %a' /var/log/stem/*").lines()) == {"stem stem 640"}

    once(["stem", "worker", "multi", "start", "count", "--command", "/usr/bin/python3 /srv/stem/counter.py"],
         ["stem", "worker", "multi", "stop", "count"])
    plain.run("install -m 0755 /usr/share/stem/sysv/stem-worker /etc/init.d/stem-worker")
    plain.run("install -m 0755 /usr/share/stem/sysv/stem-scheduler /etc/init.d/stem-scheduler")
    once(["/etc/init.d/stem-worker", "start"], ["/etc/init.d/stem-worker", "stop"], "by-hand", "scheduler")
