"""Workers as services of a real systemd, in a box: it restarts them under load, because an operator wants it, because they died,
because they no longer say that they live."""

import json

from box import Box, Skip, Unavailable, unavailable, wait_until
from stage import Stage

import scheduling
import stores
from faults import load, scenario
from fleet import CONCURRENCY, LEASE, Programs
from ledger import Ledger
from trial import WORKERS

HOME = "/var/lib/stem"
MODULE = "/usr/src/stem-build/tests/modules/libledger.so"
WATCHDOG = 2  # seconds
SCHEDULER = "scheduler"
DROP_IN = f"""[Unit]
StartLimitIntervalSec=0
[Service]
WatchdogSec={WATCHDOG}
RestartSec=200ms
Environment=STEM_VISIBILITY_TIMEOUT={LEASE}s STEM_RETRY_BASE=200ms STEM_SCHEDULER_LOCK_PERIOD={scheduling.LOCK}s STEM_SCHEDULER_CATCH_UP=all STEM_BROKER_URL="""

QUERY = """
import json, sqlite3, sys
given = json.load(sys.stdin)
with sqlite3.connect(f"file:{given['path']}?mode=ro", uri=True, timeout=30) as database:
    print(json.dumps(database.execute(given["sql"], given["values"]).fetchall()))
"""


class Sqlite(stores.Sqlite):
    """Of the box."""

    def __init__(self, box):
        super().__init__(HOME)
        self.box = box

    def rows(self, sql, *values):
        given = json.dumps({"path": str(self.path), "sql": sql, "values": values})
        return [tuple(row) for row in self.box.run(["python3", "-c", QUERY], input=given, timeout=60).json()]


class Redis(stores.Redis):
    """Of the box, as a service."""

    def __init__(self, box):
        super().__init__(HOME, "/var/lib/test-redis")
        self.box = box
        self.execute = lambda words, timeout: box.run(words, check=False, timeout=timeout)

    def start(self):
        self.box.run(["systemd-run", "--quiet", "--unit=test-redis", "--property=Restart=always", "--property=RestartSec=100ms", "--property=StateDirectory=test-redis",
                      *self.words()])
        wait_until(self.is_up, 30, "Redis answers in the box")

    def close(self):
        pass


class Services(Programs):
    """Instances of stem-worker@.service, where Programs has processes."""

    def __init__(self, context, box, url):
        super().__init__(context.options.build, context.directory, url)
        self.box, self.env = box, {"STEM_BROKER_URL": url}
        for unit in ("stem-worker@", "stem-scheduler"):
            box.write(f"/etc/systemd/system/{unit}.service.d/test.conf", f"{DROP_IN}{url}\n")
        self.started = []  # names
        box.run(["systemctl", "daemon-reload"])

    def run(self, *words, rc=0, timeout=60, **more):
        return self.box.run(["stem", *words], check=False if rc is None else {rc}, env=self.env, user="stem", timeout=timeout, **more)

    def command(self, words, name=None):
        return self.box.enter_command(["stem", *words], "stem", self.env), None

    def put(self, name, text):
        self.box.write(f"{HOME}/{name}", text)
        return f"{HOME}/{name}"

    @staticmethod
    def unit(name):
        return "stem-scheduler.service" if name == SCHEDULER else f"stem-worker@{name}.service"

    def systemctl(self, *words):
        self.box.run(["systemctl", *words], timeout=60)

    def start_worker(self, name):
        self.box.run(["stem", "worker", "multi", "start", name, "--app", MODULE, "--concurrency", str(CONCURRENCY)], timeout=60)
        self.pid(name)
        self.started.append(name)

    def start_scheduler(self, name):
        self.systemctl("start", self.unit(name))
        self.started.append(name)

    def pid(self, name):
        pid = int(self.box.properties(self.unit(name), "MainPID")["MainPID"])
        self.pids[pid] = name
        return pid

    def ended(self, name):
        return None  # systemd starts it again

    def health(self, name, kind="worker"):
        said = super().health(name, kind)
        self.pid(name)
        return said

    def resident(self, name):
        return 0.0

    def replaced(self, name, pid):
        """Waits until another process is the ready worker."""
        def is_replaced():
            now = self.box.properties(self.unit(name), "ActiveState", "MainPID")
            return now["ActiveState"] == "active" and int(now["MainPID"]) not in (0, pid)
        wait_until(is_replaced, WATCHDOG + 20, f"systemd has replaced {name}")

    def stop(self):
        units = [self.unit(name) for name in self.started]
        groups = [self.box.properties(unit, "ControlGroup")["ControlGroup"] for unit in units]
        self.systemctl("stop", *units)
        for unit, group in zip(units, groups):
            shown = self.box.properties(unit, "ActiveState", "Result")
            if shown != {"ActiveState": "inactive", "Result": "success"}:
                yield f"{unit} after `systemctl stop`: {shown}"
            files = " ".join(f"/sys/fs/cgroup{place}{group}/cgroup.procs" for place in ("", "/unified", "/systemd"))
            if left := self.box.run(f"cat {files} 2>/dev/null", check=False).stdout.split():
                yield f"processes are left in the control group of {unit}: {left}"
        if left := self.box.run(["pgrep", "-a", "-x", "stem"], check=False).stdout:
            yield f"processes are left: {left}"

    def close(self):
        pass


def fleet_of_services(context, **more):
    if reason := unavailable():
        raise Skip(reason)
    stage = context.closing(Stage(context.options.build))
    stage.install()
    box = context.closing(Box(**stage.box_options()))
    try:
        box.boot()
    except Unavailable as reason:
        raise Skip(str(reason)) from None
    stage.settle(box)
    store = {"sqlite": Sqlite, "redis": Redis}[context.store](box)
    # Longer jobs than elsewhere, so that there are always some, however long systemd takes.
    return context.trial(store, most_ms=60, **more, programs=Services(context, box, store.url), ledger=Ledger(f"/proc/{box.leader}/root{HOME}/ledger", f"{HOME}/ledger"))


@scenario("systemd: restart", stores=("sqlite", "redis"), short=("sqlite",))
def restart(context):
    """Of one, or of all at once: what runs is finished, what was leased ahead is put back."""
    trial = fleet_of_services(context)

    def fault(number):
        names = WORKERS if number % 3 == 2 else [trial.chance.choice(WORKERS)]
        one = trial.disturb(f"systemctl restart {' '.join(names)}", names, 0)  # nothing is to run twice
        one.kept = trial.leased(names)
        trial.programs.systemctl("restart", *map(trial.programs.unit, names))
        trial.recovered(one)
    load(trial, fault)


def met_soon(trial, name):
    """Twice what it holds now: until systemctl has done its work it may get others."""
    return 2 * trial.leased([name])


@scenario("systemd: SIGKILL", stores=("sqlite", "redis"))
def kill(context):
    trial = fleet_of_services(context)

    def fault(_):
        name = trial.chance.choice(WORKERS)
        pid = trial.programs.pid(name)
        one = trial.disturb(f"SIGKILL of {name}", [name], met_soon(trial, name))
        trial.programs.systemctl("kill", "--signal=KILL", "--kill-whom=main", trial.programs.unit(name))
        trial.programs.replaced(name, pid)
        trial.recovered(one)
    load(trial, fault)


@scenario("systemd: watchdog", stores=("sqlite", "redis"))
def watchdog(context):
    """A worker that hangs is unhealthy at once, and replaced."""
    trial = fleet_of_services(context)

    def fault(_):
        name = trial.chance.choice(WORKERS)
        pid = trial.programs.pid(name)
        one = trial.disturb(f"SIGSTOP of {name}", [name], met_soon(trial, name))
        trial.programs.systemctl("kill", "--signal=STOP", "--kill-whom=main", trial.programs.unit(name))
        trial.sick([name])
        trial.programs.replaced(name, pid)
        trial.recovered(one)
    load(trial, fault)


@scenario("systemd: scheduler", stores=("sqlite", "redis"))
def scheduler(context):
    """`systemctl restart`, Restart= after a kill, and after a hang."""
    trial = fleet_of_services(context, make=scheduling.ScheduleTrial, schedulers=(SCHEDULER,))

    def fault(number):
        unit, pid = trial.programs.unit(SCHEDULER), trial.programs.pid(SCHEDULER)
        one = scheduling.nobody(trial, "a scheduler that is replaced")
        if number % 3 == 0:
            trial.programs.systemctl("restart", unit)
        else:
            trial.programs.systemctl("kill", f"--signal={'KILL' if number % 3 == 1 else 'STOP'}", "--kill-whom=main", unit)
        trial.programs.replaced(SCHEDULER, pid)
        trial.recovered(one)
    scheduling.run(trial, fault)
