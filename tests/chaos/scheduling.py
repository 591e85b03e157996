"""Schedules under the same faults: each slot has run once, no more and no less."""

import json
import signal
import time
from collections import Counter
from datetime import datetime

from faults import scenario
from fleet import until
from ledger import Ledger
from machine import Clock
from stores import STORES
from trial import DRAINS_WITHIN, Trial

EVERY = 0.1  # seconds
LOCK = 1  # second: STEM_SCHEDULER_LOCK_PERIOD of Programs
SCHEDULERS = ("one", "two")


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class NoProducer:
    """The schedulers are the producer."""

    accepted, problems, failure, refused, wanted_dead = {}, [], None, [], set()

    def __init__(self):
        self.over = False

    def is_alive(self):
        return not self.over

    def end(self):
        self.over = True


class ScheduleTrial(Trial):
    """Schedulers and a worker; as many slots as other trials have jobs."""

    def __init__(self, options, store, directory, seed, ahead=0, schedulers=SCHEDULERS, **more):
        del ahead
        super().__init__(options, store, directory, seed, workers=("w1",), **more)
        self.schedulers = schedulers
        self.producer = NoProducer()
        self.names = [f"s{n}" for n in range(max(4, min(40, options.jobs // 100)))]

    def begin(self):
        wanted = [{"name": name, "task": "ledger.note", "schedule": f"every:{int(EVERY * 1000)}ms", "args": {"file": str(self.ledger.told)}} for name in self.names]
        self.programs.run("schedule", "apply", "--yes", "--file", self.programs.put("schedules.json", json.dumps(wanted)))
        self.programs.start_worker("w1")
        for name in self.schedulers:
            self.programs.start_scheduler(name)
        self.wait_for_health()

    def wait_for_health(self, names=None, kind="worker"):
        super().wait_for_health(names, kind)
        if names is None:
            super().wait_for_health(self.schedulers, "scheduler")

    def look(self):
        return self.ledger.follow().distinct

    def schedules(self):
        return {row["name"]: row["status"] for row in self.programs.run("schedule", "list", "--json").json()}

    def settle(self):
        self.go_on_until(lambda: self.look() >= self.jobs, "all slots have run")
        # When this has returned, nothing is published any more.
        self.programs.run("schedule", "disable", *self.names)
        self.statuses = self.schedules()
        self.producer.end()
        began = time.monotonic()
        until(lambda: self.left() == 0, DRAINS_WITHIN, f"all queues are empty; left: {self.queues()}", 0.1)
        self.drain = time.monotonic() - began
        # Nothing is to be waited for: several slots pass, and whoever leads looks at its line again.
        time.sleep(max(10 * EVERY, 2 * LOCK))
        until(lambda: self.left() == 0, DRAINS_WITHIN, f"all queues are still empty; left: {self.queues()}", 0.1)
        self.ledger.follow()

    def verify(self):
        problems, slots = self.problems, Counter()
        if self.schedules() != self.statuses:
            problems.append("something was published after `stem schedule disable` had returned")
        for job in self.ledger.effects:
            slots[job.partition("@")[0]] += 1
        for name, status in self.statuses.items():
            passed = round((instant(status["lastSlot"]) - instant(status["createdAt"])) / EVERY)
            self.accepted += passed
            if not passed == status["runs"] == slots[name] or status["misfires"]:
                problems.append(f"{name}: {passed} slots, {status['runs']} runs, {status['misfires']} misfires, {slots[name]} slots with an effect")
        self.told(problems, "effects of slots that there are not", [job for job in self.ledger.effects if not self.on_grid(job)])
        results = self.store.results()
        self.told(problems, "results without effect", [job for job in results if job not in self.ledger.effects])
        self.told(problems, "effects without result", [job for job in self.ledger.effects if job not in results])
        self.told(problems, "dead letters", self.store.dead())
        self.count_duplicates(problems, self.ledger.effects)
        problems += self.store.contradictions()
        problems += self.leftovers()

    def on_grid(self, job):
        """Slots are a whole number of intervals after the schedule came into force."""
        name, _, slot = job.partition("@")
        return abs((instant(slot) - instant(self.statuses[name]["createdAt"])) / EVERY % 1 - 0.5) > 0.45


def schedules(context, store=None, **variables):
    store = store or STORES[context.store](context.directory)
    trial = context.trial(store, make=ScheduleTrial, **variables)
    return trial


def run(trial, fault):
    trial.begin()
    for number in trial.under_load():
        fault(number)
        trial.problems += trial.store.contradictions()
    trial.settle()
    trial.verify()


def nobody(trial, what):
    """A fault that meets no worker, and so excuses no effect that came twice."""
    return trial.disturb(what, [], 0)


@scenario("scheduler: SIGKILL", short=("sqlite",))
def kill_scheduler(context):
    trial = schedules(context)

    def fault(_):
        name = trial.chance.choice(SCHEDULERS)
        one = nobody(trial, f"SIGKILL of scheduler {name}")
        trial.programs.kill(name)
        trial.sick([name], kind="scheduler")
        trial.programs.start_scheduler(name)
        trial.recovered(one)
    run(trial, fault)


@scenario("scheduler: SIGSTOP")
def stop_scheduler(context):
    """Stopped until the other one leads, or not so long; then it goes on where it was."""
    trial = schedules(context)

    def fault(number):
        name = trial.chance.choice(SCHEDULERS)
        one = nobody(trial, f"SIGSTOP of scheduler {name}")
        trial.programs.running[name].send_signal(signal.SIGSTOP)
        trial.sick([name], kind="scheduler", says="stopped")
        time.sleep(LOCK * (2.5 if number % 2 == 0 else trial.chance.random()))
        trial.programs.running[name].send_signal(signal.SIGCONT)
        trial.recovered(one)
    run(trial, fault)


@scenario("scheduler: server SIGKILL", stores=("redis", "postgres"))
def kill_server_of_schedulers(context):
    trial = schedules(context)

    def fault(_):
        one = trial.disturb("SIGKILL of the server", ["w1"])
        trial.store.kill(trial.chance)
        time.sleep(trial.chance.random() * 2 * LOCK)
        trial.store.start()
        trial.recovered(one)
    run(trial, fault)


@scenario("scheduler: clock steps", short=("redis",))
def step_clocks_of_schedulers(context):
    """Each has a clock of its own, which jumps; half of the time one that leads is killed as well."""
    trial = schedules(context)
    clocks = {}
    for name in SCHEDULERS:
        clocks[name] = Clock(context.options.build, context.directory / f"clock-{name}")
        trial.programs.more[name] = clocks[name].env

    def fault(number):
        one = nobody(trial, "a step of the clock")
        for name in SCHEDULERS:
            clocks[name].set(trial.chance.uniform(-3, 5))
        if number % 2 == 0:
            name = trial.chance.choice(SCHEDULERS)
            trial.programs.kill(name)
            trial.programs.start_scheduler(name)
        trial.recovered(one)
    run(trial, fault)
