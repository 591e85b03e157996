#!/usr/bin/env python3
"""`stem observe` and `stem top` with real workers, in a real terminal (tmux): keys, sizes, signals, a lost broker.

Usage: tests/top_test.py STEM MODULE    MODULE is tests/modules/effects
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from checks import Checks, PATIENCE, until


def contents(path):
    """Of a file that may be gone: nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


class Fleet:
    """One broker, its workers, and the programs that look at it."""

    def __init__(self, stem, module, directory, url=None):
        self.stem, self.module, self.directory = stem, module, directory
        self.base = {name: value for name, value in os.environ.items() if not name.startswith(("STEM", "LC_", "LANG", "NO_COLOR"))}
        self.base |= {"STEM_BROKER_URL": url or f"sqlite://{directory}/stem.db", "STEM_RUNTIME_DIR": f"{directory}/run",
                      "LC_ALL": "C.UTF-8", "STEM_HEARTBEAT_INTERVAL": "60s"}
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(timeout=PATIENCE)

    def worker(self, node, *queues):
        words = [self.stem, "worker", "start", "--node", node, "--app", self.module, "-c", "4"]
        for queue in queues:
            words += ["-q", queue]
        self.workers.append(subprocess.Popen(words, env=self.base, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        until(lambda: any(one["workerId"] == node for one in self.json("worker", "status")))

    def run(self, *arguments, **variables):
        return subprocess.run([self.stem, *arguments], env=self.base | variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=2 * PATIENCE)

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json").stdout or "[]")

    def enqueue(self, task, arguments, *more):
        ran = self.run("enqueue", task, "--args", json.dumps(arguments), *more)
        assert ran.returncode == 0, ran.stderr
        return ran


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


class Screen:
    """`stem top` in a terminal of its own."""

    def __init__(self, fleet, *arguments, columns=100, rows=30, program=None, **variables):
        self.socket = os.path.join(fleet.directory, f"tmux-{time.monotonic_ns()}")
        self.status = self.socket + ".status"
        self.errors = self.socket + ".errors"
        environment = fleet.base | {"SHELL": "/bin/sh"}
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        # The interrupt is for all in the terminal: this shell outlives it.
        command = (f"trap : INT; stty -a >{self.socket}.before; env {settings} {fleet.stem} top {' '.join(arguments)} 2>{self.errors}; "
                   f"echo $? >{self.status}; stty -a >{self.socket}.after; exec sleep 1000")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), program or command, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmux("kill-server")

    def tmux(self, *arguments, env=None):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], env=env, capture_output=True, text=True, check=False, timeout=PATIENCE).stdout

    def text(self, *options):
        return self.tmux("capture-pane", "-p", *options)

    def shows(self, pattern, patience=PATIENCE):
        return until(lambda: re.search(pattern, self.text(), re.M), patience)

    def lacks(self, pattern):
        return until(lambda: not re.search(pattern, self.text(), re.M))

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def pid(self):
        """Of `stem top`, which is a child of the terminal's shell."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))

        def child():
            with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as file:
                return [int(word) for word in file.read().split() if contents(f"/proc/{word}/comm").strip() == "stem"]
        return until(child)[0]

    def ended(self):
        """Its exit status, or None."""
        text = until(lambda: contents(self.status).strip())
        return int(text) if text else None

    def restored(self):
        """Whether the terminal is as it was before, but for its size."""
        def settings(when):
            return re.sub(r"(rows|columns) \d+", "", contents(f"{self.socket}.{when}"))
        return until(lambda: settings("after")) == settings("before")

    def said(self):
        return contents(self.errors)


def observing(checks, fleet):
    queues = {row["queue"]: row for row in fleet.json("observe", "queues")}
    plain = {row["queue"]: row for row in fleet.json("queues")}
    checks.check("observe queues: it says who serves each queue, and agrees with `stem queues`",
                 ([] if queues.get("mail", {}).get("workers") == ["mail-1", "web-1"] and queues.get("default", {}).get("workers") == ["web-1"] else [str(queues)])
                 + [f"{name}: {queues.get(name)}" for name, row in plain.items() if any(queues.get(name, {}).get(key) != row[key] for key in row if key != "oldestReadyMs")])
    fleet.run("worker", "pause", "-q", "mail")
    paused = {row["queue"]: row for row in fleet.json("observe", "queues")}
    text = fleet.run("observe", "queues").stdout
    fleet.run("worker", "resume", "-q", "mail")
    checks.check("observe queues: a paused queue is told of, and nobody takes from it",
                 [] if paused["mail"]["paused"] and paused["mail"]["workers"] == [] and re.search(r"^mail .* yes$", text, re.M) else [str(paused), text])

    workers = fleet.run("observe", "workers")
    checks.check("observe workers: a line for each that lives, with its pace", [] if workers.returncode == 0 and "DONE/S" in workers.stdout
                 and re.search(r"^web-1 .* alive ", workers.stdout, re.M) else [f"{workers.returncode}: {workers.stdout}{workers.stderr}"])
    one = fleet.run("observe", "workers", "--worker", "nobody")
    checks.check("observe workers: where a named one does not live the status is 1", [] if one.returncode == 1 and "lives" in one.stdout else [f"{one.returncode}: {one.stdout}"])

    fleet.run("enqueue", "effect.fail", "--args", '{"message": "no"}', "--max-retries", "0", "-q", "mail", "--wait")
    dead = fleet.json("observe", "dlq")
    checks.check("observe dlq: dead letters are counted by queue, task and reason",
                 [] if dead["dead"] == 1 and dead["groups"][0]["task"] == "effect.fail" and dead["queues"][0]["queue"] == "mail" else [str(dead)])
    other = fleet.json("observe", "dlq", "--queue", "default")
    checks.check("observe dlq: only those that match", [] if other["dead"] == 0 else [str(other)])

    schedules = fleet.run("observe", "schedules")
    checks.check("observe schedules: none, and no leader, in words", [] if schedules.stdout == "there is no schedule\nno scheduler leads\n" else [schedules.stdout + schedules.stderr])

    for command in (["observe", "queues"], ["observe", "workers"], ["observe", "dlq"], ["observe", "schedules"], ["top"], ["top", "--once"]):
        away = fleet.run(*command, STEM_BROKER_URL="redis://127.0.0.1:1")
        checks.check(f"stem {' '.join(command)}: a broker that is away is one line, and status 69",
                     [] if away.returncode == 69 and away.stderr.count("\n") == 1 and "127.0.0.1:1" in away.stderr else [f"{away.returncode}: {away.stderr}"])
    for words, why in ((["observe", "queues", "--interval", "1ms"], "interval"), (["top", "--interval", "1ms"], "interval"), (["top", "--once", "--count", "2"], "say one")):
        bad = fleet.run(*words)
        checks.check(f"stem {' '.join(words)}: refused", [] if bad.returncode == 64 and why in bad.stderr else [f"{bad.returncode}: {bad.stderr}"])

    follower = subprocess.Popen([fleet.stem, "observe", "queues", "--json", "--interval", "100ms"], env=fleet.base, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [follower.stdout.readline() for _ in range(3)]
    follower.stdout.close()
    follower.stderr.close()
    follower.wait(timeout=PATIENCE)
    checks.check("observe --interval: a value a line, until nobody reads any more", [line for line in lines if not isinstance(json.loads(line), list)])


def plain_lines(checks, fleet):
    for _ in range(8):
        fleet.enqueue("effect.sleep", {"ms": 20})
    blocks = fleet.run("top", "--count", "2", "--interval", "300ms")
    checks.check("top: without a terminal, plain lines, a block each interval, then the end",
                 [] if blocks.returncode == 0 and len(re.findall(r"^\d{4}-.* 2 workers ", blocks.stdout, re.M)) == 2 and "\x1b" not in blocks.stdout
                 and all(word in blocks.stdout for word in ("QUEUE", "TASK", "WORKER", "effect.sleep")) else [f"{blocks.returncode}: {blocks.stdout}{blocks.stderr}"])
    figures = json.loads(fleet.run("top", "--json", "--once").stdout)
    task = next((one for one in figures["tasks"] if one["task"] == "effect.sleep"), {})
    checks.check("top --json: an object with the same figures, and how long handlers took",
                 [] if len(figures["workers"]) == 2 and task.get("done") == 8 and 15 < task["p50Ms"] < 2000 else [str(figures)])


def live(checks, fleet):
    with Screen(fleet) as screen:
        tables = all(screen.shows(word) for word in (r"^stem top ", r"^2 workers", r"^QUEUE", r"^TASK", r"^WORKER", r"^web-1 .* alive", r"^q quit"))
        checks.check("top: the screen has the sums, three tables and the keys", [] if tables else [screen.text()])
        for _ in range(20):
            fleet.enqueue("effect.sleep", {"ms": 5})
        checks.check("top: what runs is seen within seconds", [] if screen.shows(r"^default +.* [1-9][\d.]* ") and screen.shows(r"^effect\.sleep +[1-9]") else [screen.text()])
        fresh = until(lambda: all(one["ageMs"] < 5000 for one in fleet.json("observe", "workers")))
        checks.check("top: workers that beat once a minute tell more often while somebody looks on", [] if fresh else [str(fleet.json("observe", "workers"))])
        pid = screen.pid()
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
            loaded = "libncursesw" in maps.read()
        with open(f"/proc/{fleet.workers[0].pid}/maps", encoding="utf-8") as maps:
            elsewhere = "libncurses" in maps.read() or "libtinfo" in maps.read()
        checks.check("top: it has loaded ncurses, and a worker has not", [] if loaded and not elsewhere else [f"{loaded}, {elsewhere}"])

        screen.keys("Down", "p")
        paused = screen.shows(r"^mail is paused") and screen.shows(r"^mail .* paused")
        durable = fleet.json("observe", "queues")
        checks.check("top: p pauses the selected queue, for good", [] if paused and next(row for row in durable if row["queue"] == "mail")["paused"] else [screen.text(), str(durable)])
        screen.keys("r")
        checks.check("top: r resumes it", [] if screen.shows(r"^mail is resumed") and screen.shows(r"^mail .* ok") else [screen.text()])
        screen.keys("s")
        checks.check("top: s sorts by the next column", [] if screen.shows("READY▾") else [screen.text()])
        screen.keys("S")
        checks.check("top: S sorts the other way round", [] if screen.shows("READY▴") else [screen.text()])
        screen.keys("Tab", "p")
        checks.check("top: p elsewhere pauses nothing, and says so", [] if screen.shows(r"^select a queue first") else [screen.text()])
        screen.keys("?")
        checks.check("top: ? tells of the keys", [] if screen.shows("pause the selected queue") and screen.shows("LAG is how long") else [screen.text()])
        screen.keys("h")
        checks.check("top: h goes back", [] if screen.shows(r"^QUEUE") else [screen.text()])

        for columns, rows in ((20, 5), (250, 70), (3, 2), (80, 24)):
            screen.tmux("resize-window", "-x", str(columns), "-y", str(rows))
            # What was drawn for another size would be cut off, or leave the last line empty.
            wanted = {20: r"\A2 workers(.*\n){3}", 250: r"\Astem top  stem .*Z\n2 workers.*▁.*\n(.*\n)+q quit", 3: r"\A2 ?…\n", 80: r"\Astem top.*Z\n2 workers.* dead"}[columns]
            drawn = screen.shows(wanted)
            checks.check(f"top: it follows a terminal of {columns} by {rows}", [] if drawn else [screen.text()])
        checks.check("top: back at the usual size, all is there", [] if screen.shows(r"^WORKER") and screen.shows(r"^q quit") else [screen.text()])

        screen.keys("q")
        checks.check("top: q ends it with 0, and the terminal is as it was", [] if screen.ended() == 0 and screen.restored() else [screen.text(), screen.said()])


def signals(checks, fleet):
    for key, number, status in (("C-c", None, 0), (None, signal.SIGTERM, 128 + signal.SIGTERM), (None, signal.SIGHUP, 128 + signal.SIGHUP)):
        with Screen(fleet) as screen:
            screen.shows(r"^q quit")
            if key:
                screen.keys(key)
            else:
                os.kill(screen.pid(), number)
            ended = screen.ended()
            checks.check(f"top: {key or number.name} ends it with {status}, and the terminal is as it was",
                         [] if ended == status and screen.restored() else [f"{ended}", screen.text(), screen.said()])
    with Screen(fleet) as screen:
        screen.shows(r"^q quit")
        screen.keys("C-z")
        screen.keys("h")
        checks.check("top: where no shell could continue it, Ctrl-Z does not stop it",
                     [] if screen.shows(r"^\? back") and state_of(screen.pid()) != "T" else [screen.text()])
        screen.keys("q")
        checks.check("top: and then it ends as ever", [] if screen.ended() == 0 and screen.restored() else [screen.text()])


def job_control(checks, fleet):
    """In a shell with job control: its own Ctrl-Z, and a stop from outside of which it is not told."""
    with Screen(fleet, program="exec bash --norc --noprofile -i") as screen:
        screen.keys("PS1='ready> '; clear", "Enter")
        screen.shows(r"\Aready>")
        screen.keys(f"{fleet.stem} top", "Enter")
        screen.shows(r"^q quit")
        pid = screen.pid()
        for how, stop in (("Ctrl-Z", lambda: screen.keys("C-z")), ("a stop from outside", lambda: os.kill(pid, signal.SIGSTOP))):
            stop()
            stopped = until(lambda: state_of(pid) == "T") and screen.shows(r"Stopped")
            screen.keys("clear; fg >/dev/null", "Enter")
            screen.shows(r"^q quit")
            screen.keys("h")
            checks.check(f"top: after {how} it takes the terminal again when it goes on: screen, keys and all",
                         [] if stopped and screen.shows(r"^\? back") and screen.lacks(r"ready>|Stopped") else [f"{stopped}", screen.text()])
            screen.keys("h")
            screen.shows(r"^q quit")  # or the shell would be given this key, once it is stopped
        screen.keys("q")
        screen.shows(r"^ready>$")
        screen.keys("echo it is $((40 + 2))", "Enter")
        checks.check("top: and gives it back in the end", [] if screen.shows(r"^it is 42") else [screen.text()])


def terminals(checks, fleet):
    for kind, reason in (("dumb", "cannot be drawn on"), ("no-such-terminal", "not known"), ("''", "TERM is not set")):
        with Screen(fleet, TERM=kind) as screen:
            plain = screen.shows(r"^QUEUE ") or screen.shows("QUEUE")
            checks.check(f"top: a terminal of the type {kind} gets plain lines, and one that says why",
                         [] if plain and reason in screen.said() and screen.said().count("\n") == 1 else [screen.text(), screen.said()])
    with Screen(fleet, LC_ALL="C") as screen:
        screen.shows(r"^q quit")
        checks.check("top: where the locale has no UTF-8, everything is ASCII",
                     [] if screen.shows(r"^QUEUEv") and screen.text().isascii() else [screen.text()])
        screen.keys("q")
        screen.ended()
    coloured = {}
    for name, variables, arguments in (("usual", {}, []), ("NO_COLOR", {"NO_COLOR": "1"}, []), ("--no-color", {}, ["--no-color"])):
        with Screen(fleet, *arguments, **variables) as screen:
            screen.shows(r"^web-1 .* alive")
            coloured[name] = bool(re.search(r"\x1b\[(?:\d+;)*3[1-7]m", screen.text("-e")))
            screen.keys("q")
            screen.ended()
    checks.check("top: colours, but not with NO_COLOR or --no-color", [] if coloured == {"usual": True, "NO_COLOR": False, "--no-color": False} else [str(coloured)])


def idle(checks, fleet):
    with Screen(fleet) as screen:
        screen.shows(r"^q quit")
        pid = screen.pid()

        def ticks():
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                words = file.read().rpartition(")")[2].split()
            return int(words[11]) + int(words[12])
        before = ticks()
        time.sleep(5)  # the measurement
        part = (ticks() - before) / os.sysconf("SC_CLK_TCK") / 5
        checks.check("top: while nobody does anything it takes less than a twentieth of a core", [] if part < 0.05 else [f"{part:.3f}"])
        screen.keys("q")
        screen.ended()


def lost(checks, stem, module, directory):
    """A Redis that goes away, comes back, and hangs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def server():
        started = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0
        until(answers)
        return started
    redis = server()
    try:
        with Fleet(stem, module, directory, f"redis://127.0.0.1:{port}") as fleet, Screen(fleet) as screen:
            screen.shows(r"^0 workers")
            redis.kill()
            redis.wait()
            told = screen.shows(r"^figures are \S+ old: .*Redis")
            checks.check("top: a lost broker is one line, with the age of the figures", [] if told and len(re.findall("figures are", screen.text())) == 1 else [screen.text()])
            first = re.search(r"figures are (\S+) old", screen.text()).group(1)
            checks.check("top: the age grows", [] if until(lambda: f"figures are {first} old" not in screen.text()) else [screen.text()])
            redis = server()
            checks.check("top: it recovers", [] if screen.lacks("figures are") and screen.shows(r"^0 workers") else [screen.text()])
            redis.send_signal(signal.SIGSTOP)
            hangs = screen.shows(r"^figures are")
            screen.keys("q")
            began = time.monotonic()
            ended = screen.ended()
            redis.send_signal(signal.SIGCONT)
            checks.check("top: a broker that hangs is told of, and does not keep it from ending",
                         [] if hangs and ended == 0 and screen.restored() and time.monotonic() - began < 4 else [f"{hangs} {ended}", screen.text()])
            redis.send_signal(signal.SIGSTOP)
            with Screen(fleet) as early:
                pid = early.pid()
                blocked = until(lambda: "SigBlk:\t0000000000000000" not in contents(f"/proc/{pid}/status"))
                began = time.monotonic()
                os.kill(pid, signal.SIGINT)
                ended = early.ended()
                checks.check("top: so it is before there is a screen", [] if blocked and ended == 0 and time.monotonic() - began < 4 else [f"{blocked} {ended}", early.said()])
            redis.send_signal(signal.SIGCONT)
    finally:
        redis.kill()
        redis.wait()


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 2:
        sys.exit(__doc__)
    if not shutil.which("tmux"):
        checks.skip("tmux is not installed; apt-get install tmux")
    stem, module = checks.arguments
    with tempfile.TemporaryDirectory() as directory:
        with Fleet(stem, module, directory) as fleet:
            fleet.worker("web-1", "default", "mail")
            fleet.worker("mail-1", "mail")
            observing(checks, fleet)
            plain_lines(checks, fleet)
            live(checks, fleet)
            signals(checks, fleet)
            job_control(checks, fleet)
            terminals(checks, fleet)
            idle(checks, fleet)
        if shutil.which("redis-server"):
            lost(checks, stem, module, directory)
    checks.finish()


if __name__ == "__main__":
    main()
