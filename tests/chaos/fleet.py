"""Workers and schedulers as processes of this machine, and whoever enqueues."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from box import execute, wait_until

LEASE = 4  # seconds: what a worker that is gone held is taken over after so long
CONCURRENCY = 4
PASSING = (69, 73, 75)  # statuses of what may be tried again
MOST_HELD = 1000  # jobs that one worker ever holds (EngineOptions::most_ahead)


class Programs:
    """What `stem` is told by its environment, and each process that was started so."""

    def __init__(self, build, directory, url, **more):
        self.build, self.directory = Path(build), Path(directory)
        self.stem = str(self.build / "src/cli/stem")
        base = {name: value for name, value in os.environ.items() if not name.startswith(("STEM", "PG", "LC_"))}
        self.env = base | {"LANG": "C.UTF-8", "STEM_BROKER_URL": url, "STEM_RUNTIME_DIR": f"{directory}/run", "STEM_SUPERVISOR": "start-stop-daemon",
                           "STEM_VISIBILITY_TIMEOUT": f"{LEASE}s", "STEM_RETRY_BASE": "200ms", "STEM_SCHEDULER_LOCK_PERIOD": "1s",
                           "STEM_SCHEDULER_CATCH_UP": "all", **more}
        self.running = {}  # by name
        self.pids = {}  # every process that ever was: its name
        self.more = {}  # by name: variables of its own

    def run(self, *words, rc=0, **more):
        line, env = self.command(words)
        ran = execute(line, env=env, timeout=more.pop("timeout", 120), **more)
        if rc is not None and ran.rc != rc:
            raise AssertionError(f"stem {' '.join(words[:4])}: status {ran.rc}: {ran.stderr}")
        return ran

    def command(self, words, name=None):
        """How `stem` is called with these words, by the process of that name: a command line, and its environment."""
        return [self.stem, *words], self.env

    def pid(self, name):
        """As the process itself knows it."""
        return self.running[name].pid

    def put(self, name, text):
        """A file that `stem` can read: its path."""
        (self.directory / name).write_text(text, encoding="utf-8")
        return str(self.directory / name)

    def log_of(self, name):
        return self.directory / f"{name}.log"

    def start(self, name, words):
        line, env = self.command(words, name)
        with open(self.log_of(name), "ab") as log:
            process = subprocess.Popen(line, env=env | self.more.get(name, {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.running[name] = process
        self.pids[process.pid] = name
        return process

    def start_worker(self, name):
        return self.start(name, ["worker", "start", "--node", name, "--concurrency", str(CONCURRENCY),
                                 "--app", str(self.build / "tests/modules/libledger.so")])

    def start_scheduler(self, name):
        return self.start(name, ["scheduler", "start", "--node", name])

    def ended(self, name):
        """Why it runs no more, though nobody asked it to end; or None."""
        status = self.running[name].poll()
        return None if status is None else f"{name} ended by itself, with status {status}; {self.log_of(name)} tells more"

    def kill(self, name):
        process = self.running[name]
        if why := self.ended(name):
            raise AssertionError(why)
        process.kill()
        process.wait()

    def held(self, name):
        """How many jobs the worker holds, as it says itself."""
        return json.loads(self.run("worker", "healthcheck", "--node", name, "--json", rc=None, timeout=20).stdout)["inflight"] or 0

    def health(self, name, kind="worker"):
        """None = well; else what is wrong."""
        ran = self.run(kind, "healthcheck", "--node", name, "--json", rc=None, timeout=20)
        try:
            said = json.loads(ran.stdout)
        except ValueError:
            return f"no JSON from healthcheck: {ran.stdout}{ran.stderr}"
        if (said["status"] == "ok") != (ran.rc == 0):
            return f"healthcheck says {said['status']}, and ends with {ran.rc}"
        return None if ran.rc == 0 else said["error"] or "an error without a word"

    def resident(self, name):
        """MiB."""
        try:
            with open(f"/proc/{self.running[name].pid}/status", encoding="ascii") as file:
                found = [line for line in file if line.startswith("VmRSS:")]
        except OSError:
            return 0.0
        return int(found[0].split()[1]) / 1024 if found else 0.0

    def stop(self):
        """SIGTERM; sentences on those that did not end well."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name, process in self.running.items():
            try:
                if process.wait(30) != 0:
                    yield f"{name} ended with status {process.returncode} after SIGTERM; {self.log_of(name)} tells more"
            except subprocess.TimeoutExpired:
                yield f"{name} did not end within 30 s of SIGTERM"

    def close(self):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


class Batch:
    def __init__(self, numbers, lines, wishes):
        self.numbers, self.lines, self.wishes = numbers, lines, wishes


class Producer(threading.Thread):
    """Enqueues until `jobs` have been accepted, never more than `ahead` in front of the effects. A batch that is refused is tried
    again as another one with numbers of its own, so that the ledger tells the two apart."""

    def __init__(self, programs, ledger, chance, jobs, ahead, most_ms, at_once=100):
        super().__init__(daemon=True)
        self.programs, self.ledger, self.chance, self.jobs, self.ahead, self.most_ms = programs, ledger, chance, jobs, ahead, most_ms
        self.at_once = at_once
        self.took = 0.0  # seconds: the last batch that was accepted
        self.accepted = {}  # id: number
        self.wanted_dead = set()  # numbers
        self.refused = []  # batches: whole or not at all
        self.problems, self.failure = [], None
        self.number = 0
        self.child = None  # the process that enqueues just now
        self._over = threading.Event()

    def batch(self, size):
        numbers, lines = range(self.number, self.number + size), []
        self.number += size
        for n in numbers:
            args = {"file": str(self.ledger.told), "n": n, "ms": self.chance.randrange(self.most_ms + 1)}
            draw = self.chance.random()
            if draw < 0.05:
                args["fail"] = 1
            elif draw < 0.06:
                args["dead"] = True
                self.wanted_dead.add(n)
            lines.append(json.dumps(args))
        wishes = []
        if self.chance.random() < 0.2:
            wishes += ["--delay", f"{self.chance.randrange(100, 1000)}ms"]
        if self.chance.random() < 0.2:
            wishes += ["--priority", str(self.chance.randrange(10))]
        return Batch(numbers, lines, wishes)

    def run(self):
        try:
            while len(self.accepted) < self.jobs and not self._over.is_set():
                if len(self.accepted) - self.ledger.distinct > self.ahead:
                    time.sleep(0.01)
                    continue
                self.publish(self.batch(min(self.at_once, self.jobs - len(self.accepted))))
        except Exception as error:  # told by whoever waits
            self.failure = error

    def publish(self, batch):
        words, env = self.programs.command(["enqueue", "ledger.note", "--args-from", "-", *batch.wishes])
        began = time.monotonic()
        with subprocess.Popen(words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            self.child = child
            try:
                ids, said = child.communicate("\n".join(batch.lines), timeout=120)
            except subprocess.TimeoutExpired:
                child.kill()
                self.problems.append("stem enqueue did not end within 120 s")
                ids, said = child.communicate()
            self.child = None
        ids = [line for line in ids.splitlines(keepends=True) if line.endswith("\n")]  # who is killed may stop in the middle of one
        self.accepted.update(zip(map(str.strip, ids), batch.numbers))
        if child.returncode == 0:
            self.took = time.monotonic() - began
            if len(ids) != len(batch.numbers):
                self.problems.append(f"{len(batch.numbers)} jobs enqueued, {len(ids)} ids printed")
            return
        if child.returncode not in (*PASSING, -signal.SIGKILL):
            self.problems.append(f"stem enqueue ended with {child.returncode}: {said.strip()}")
        if unknown := batch.numbers[len(ids):]:
            self.refused.append(Batch(unknown, batch.lines[len(ids):], batch.wishes))
        time.sleep(0.05)

    def end(self):
        self._over.set()
        self.join(150)


def until(condition, seconds, what, interval=0.02):
    return wait_until(condition, deadline=seconds, what=what, interval=interval)
