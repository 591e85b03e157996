#!/usr/bin/env python3
"""The program on a real PostgreSQL: a worker, a scheduler, results in another place, restarts, and what loads libpq.

Usage: tests/postgres_test.py STEM MODULE    MODULE is tests/modules/effects
"""

import glob
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from checks import Checks

PASSWORD = "hunter2"


def eventually(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Server:
    """PostgreSQL in a directory of its own, on a Unix socket; its role `app` has a password. `rules` are lines of its
    pg_hba.conf, `files` are put into its directory, by name."""

    def __init__(self, directory, settings=(), rules="", files=(), port=5432):
        self.directory, self.data, self.process, self.port = directory, f"{directory}/data", None, port
        self.settings = [word for setting in settings for word in ("-c", setting)]
        self.as_owner = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(directory, owner.pw_uid, owner.pw_gid)
            self.as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self.run("initdb", "-D", self.data, "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.put("pg_hba.conf", f"local all owner trust\nlocal all all scram-sha-256\n{rules}\n")
        for name, content in dict(files).items():
            self.put(name, content)
        self.start()
        self.run("psql", "-q", "-h", directory, "-p", str(port), "-U", "owner", "-d", "postgres", "-c",
                 f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'", "-c", "CREATE DATABASE jobs OWNER app")

    def put(self, name, content):
        """A file in its directory, which nobody else may read."""
        path = f"{self.data}/{name}"
        if os.path.exists(path):
            os.unlink(path)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, 0o600)
        if self.as_owner:
            os.chown(path, self.as_owner["user"], self.as_owner["group"])

    @staticmethod
    def program(name):
        return (sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [name])[-1]

    def run(self, name, *arguments):
        subprocess.run([self.program(name), *arguments], cwd="/", check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=120, **self.as_owner)

    def start(self):
        def is_ready():
            if self.process is None or self.process.poll() is not None:  # what was killed may hold on for a moment
                self.process = subprocess.Popen(
                    [self.program("postgres"), "-D", self.data, "-k", self.directory, "-p", str(self.port), "-c", "listen_addresses=", "-c", "fsync=off",
                     *self.settings],
                    cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.as_owner)
            ready = subprocess.run([self.program("pg_isready"), "-q", "-h", self.directory, "-p", str(self.port)], check=False, timeout=60)
            return ready.returncode == 0
        if not eventually(is_ready):
            sys.exit("PostgreSQL does not start")

    def stop(self, how=signal.SIGINT):
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8").read().split()
        self.process.send_signal(how)
        if how == signal.SIGKILL:
            for child in children:
                try:
                    os.kill(int(child), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait(timeout=60)

    def url(self, parameters="", password=PASSWORD):
        return f"postgresql://app:{password}@/jobs?host={self.directory}{parameters}"


class Program:
    """stem, with a worker that runs until the block ends; `log` holds what it said by then."""

    def __init__(self, checks, directory, url, **variables):
        self.stem, self.module = checks.arguments
        self.base = {name: value for name, value in os.environ.items() if not name.startswith(("STEM", "PG"))}
        self.base |= {"STEM_BROKER_URL": url, "STEM_RUNTIME_DIR": f"{directory}/run", "STEM_WORKER_NODE": "w", "STEM_WORKER_CONCURRENCY": "2",
                      "STEM_WORKER_APP": self.module, **variables}
        self.ran, self.lines, self.processes, self.readers = f"{directory}/ran", [], [], []

    def run(self, *arguments, **variables):
        return subprocess.run([self.stem, *arguments], env=self.base | variables, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=120)

    def enqueue(self, text, *arguments, **variables):
        return self.run("enqueue", "effect.append", "--args", json.dumps({"file": self.ran, "text": text}), *arguments, **variables)

    def begin(self, *arguments):
        process = subprocess.Popen([self.stem, *arguments], env=self.base, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        self.readers.append(threading.Thread(target=lambda: self.lines.extend(process.stderr)))
        self.readers[-1].start()
        return process

    def __enter__(self):
        self.begin("worker", "start")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=60)
        for reader in self.readers:
            reader.join()

    @property
    def log(self):
        return "".join(self.lines)

    def ran_lines(self):
        return open(self.ran, encoding="utf-8").read().split() if os.path.exists(self.ran) else []


def failures(*calls):
    return [f"{call.args[1:3]}: {call.returncode}: {call.stdout}{call.stderr}" for call in calls if call.returncode != 0]


def a_worker(checks, directory, server):
    program = Program(checks, directory, server.url())
    with program:
        first = program.enqueue("one", "--wait", "--id", "first")
        checks.check("postgresql: a worker runs a job, and who waits for it is told", failures(first) + [
            text for text in [program.ran_lines()] if text != ["one"]])
        health = program.run("worker", "healthcheck", "--node", "w", "--json")
        broker = json.loads(health.stdout or "{}").get("broker", {})
        checks.check("postgresql: the worker is healthy", failures(health) + ([] if broker.get("connected") else [str(broker)]))
        program.enqueue("later", "--delay", "1h")
        queues = json.loads(program.run("queues", "--json").stdout or "{}")
        checks.check("postgresql: a delayed job is shown in its queue", [] if '"delayed": 1' in json.dumps(queues) else [str(queues)])
        result = program.run("result", "first")
        checks.check("postgresql: the result can be read afterwards", failures(result))
        soon = program.enqueue("soon", "--delay", "300ms", "--wait")
        checks.check("postgresql: a delayed job runs when it is due", failures(soon))
        maps = open(f"/proc/{program.processes[0].pid}/maps", encoding="utf-8").read()
        checks.check("postgresql: who uses it has loaded libpq", [] if "libpq.so.5" in maps else ["it has not"])
        arguments = open(f"/proc/{program.processes[0].pid}/cmdline", encoding="utf-8").read()
        checks.check("postgresql: the password is not on the command line", [arguments] if PASSWORD in arguments else [])


def a_worker_that_was_first(checks, directory, server):
    program = Program(checks, directory, server.url("&schema=first"))
    program.ran = f"{directory}/first"
    server.stop(signal.SIGINT)
    with program:
        waits = eventually(lambda: "trying again" in program.log)
        server.start()
        enqueued = program.enqueue("first", "--wait")
    checks.check("postgresql: a worker that is started before its server waits, and runs jobs once the server is there",
                 failures(enqueued) + ([] if waits and program.ran_lines() == ["first"] else [program.log]))


def restarts(checks, directory, server):
    program = Program(checks, directory, server.url("&schema=restarts"))
    program.ran = f"{directory}/restarts"
    with program:
        enqueued = [program.enqueue("before", "--wait")]
        for how in (signal.SIGINT, signal.SIGKILL):
            server.stop(how)
            refused = program.enqueue("never")
            checks.check(f"postgresql: without the server ({how.name}) an enqueue fails with 69, in one line, without the password",
                         [] if refused.returncode == 69 and refused.stderr.count("\n") == 1 and PASSWORD not in refused.stderr
                         else [f"{refused.returncode}: {refused.stderr}"])
            server.start()
            enqueued.append(program.enqueue(f"after-{how.name}", "--wait"))
    checks.check("postgresql: a worker outlives restarts of the server, and runs each job once",
                 failures(*enqueued) + ([] if program.ran_lines() == ["before", "after-SIGINT", "after-SIGKILL"] else program.ran_lines()))
    checks.check("postgresql: it says that the broker is lost, and back, and no password",
                 [] if "trying again" in program.log and "the broker answers again" in program.log and PASSWORD not in program.log
                 else [program.log])


def a_scheduler(checks, directory, server):
    program = Program(checks, directory, server.url("&schema=schedules"))
    program.ran = f"{directory}/scheduled"
    path = f"{directory}/schedules.yaml"
    with open(path, "w", encoding="utf-8") as file:
        json.dump([{"name": "tick", "task": "effect.append", "schedule": "every:200ms", "args": {"file": program.ran, "text": "tick"}}], file)
    with program:
        applied = program.run("schedule", "apply", "--yes", "--file", path)
        program.begin("scheduler", "start")
        program.begin("scheduler", "start", "--node", "second")
        ran = eventually(lambda: len(program.ran_lines()) >= 5)
        server.stop(signal.SIGINT)
        server.start()
        before = len(program.ran_lines())
        goes_on = eventually(lambda: len(program.ran_lines()) >= before + 5)
        listed = program.run("schedule", "list")
    checks.check("postgresql: of two schedulers one leads, its jobs run, and go on after a restart",
                 failures(applied, listed) + ([] if ran and goes_on else [f"{program.ran_lines()}", program.log]))


def other_places(checks, directory, server):
    redis = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", f"{directory}/redis.sock", "--save", "", "--dir", directory],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: os.path.exists(f"{directory}/redis.sock"))
        for what, jobs, results, schedules in (
                ("jobs here, results on Redis", server.url("&schema=mixed"), f"redis+socket://{directory}/redis.sock", f"sqlite://{directory}/mix.db"),
                ("jobs on SQLite, results and schedules here", f"sqlite://{directory}/mix.db", server.url("&schema=mixed"), server.url("&schema=more"))):
            program = Program(checks, directory, jobs, STEM_RESULT_BACKEND_URL=results, STEM_SCHEDULE_STORE_URL=schedules)
            path = f"{directory}/mixed.yaml"
            program.ran = f"{directory}/mixed"
            with open(path, "w", encoding="utf-8") as file:
                json.dump([{"name": "once", "task": "effect.append", "schedule": "every:100ms", "runOnce": True,
                            "args": {"file": program.ran, "text": "scheduled"}}], file)
            if os.path.exists(program.ran):
                os.unlink(program.ran)
            with program:
                done = program.enqueue("mixed", "--wait")
                applied = program.run("schedule", "apply", "--yes", "--file", path)
                program.begin("scheduler", "start")
                ran = eventually(lambda: program.ran_lines().count("scheduled") == 1)
            checks.check(f"postgresql: {what}: a job runs, its result comes, a schedule fires",
                         failures(done, applied) + ([] if ran else [str(program.ran_lines()), program.log]))
    finally:
        redis.kill()
        redis.wait()


def refusals(checks, directory, server):
    for what, url, status, says in (
            ("a wrong password", server.url(password="wr0ng"), 77, "refuses the user or the password"),
            ("no such database", server.url().replace("/jobs", "/none"), 78, "no such database"),
            ("a parameter that is none", server.url("&nonsense=1"), 78, "unknown parameter 'nonsense'")):
        program = Program(checks, directory, url)
        enqueue = program.enqueue("never")
        worker = program.run("worker", "start")
        checks.check(f"postgresql: {what}: each command says so in one line, and not the password",
                     [f"{one.returncode}: {one.stderr}" for one in (enqueue, worker)
                      if one.returncode != status or says not in one.stderr or PASSWORD in one.stderr or "wr0ng" in one.stderr]
                     + ([] if enqueue.stderr.count("\n") == 1 else [enqueue.stderr]))


def loading(checks, directory, server):
    program = Program(checks, directory, f"sqlite://{directory}/plain.db")
    for arguments in (["--version"], ["queues"], ["enqueue", "a"]):
        loaded = "libpq" in program.run(*arguments, LD_DEBUG="libs").stderr
        checks.check(f"postgresql: stem {arguments[0]} on SQLite does not load libpq", ["it does"] if loaded else [])
    with program:
        eventually(lambda: "ready" in program.log or program.run("worker", "healthcheck", "--node", "w").returncode == 0)
        maps = open(f"/proc/{program.processes[0].pid}/maps", encoding="utf-8").read()
    checks.check("postgresql: a worker on SQLite has not loaded libpq", ["it has"] if "libpq" in maps else [])
    # Its place is taken by a file that is none: as good as missing.
    os.mkdir(f"{directory}/lib")
    with open(f"{directory}/lib/libpq.so.5", "w", encoding="utf-8") as file:
        file.write("nothing")
    missing = Program(checks, directory, server.url()).run("enqueue", "a", LD_LIBRARY_PATH=f"{directory}/lib")
    checks.check("postgresql: where libpq is missing, one line names its package",
                 [] if missing.returncode == 78 and "libpq5" in missing.stderr and missing.stderr.count("\n") == 1 and PASSWORD not in missing.stderr
                 else [f"{missing.returncode}: {missing.stderr}"])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 2:
        sys.exit(__doc__)
    if not os.path.exists(Server.program("initdb")) and not shutil.which("initdb"):
        checks.skip("PostgreSQL is not installed; tool/setup installs it")
    with tempfile.TemporaryDirectory(prefix="stem-postgres-") as directory:
        os.chmod(directory, 0o755)
        os.mkdir(f"{directory}/pg")
        server = Server(f"{directory}/pg")
        try:
            for part in (a_worker, a_worker_that_was_first, restarts, a_scheduler, other_places, refusals, loading):
                part(checks, directory, server)
        finally:
            if server.process.poll() is None:
                server.stop(signal.SIGKILL)
    checks.finish()


if __name__ == "__main__":
    main()
