"""What is done to a load of jobs: one function for each fault. A scenario gets a Trial, and calls

    begin(); for each of under_load(): disturb(), the fault, recovered(); settle(); verify()

which `load` does for those that only differ in the fault.
"""

import signal
import time
from dataclasses import dataclass

from box import Skip

from fleet import LEASE, until
from machine import Clock, SmallDisk, Unavailable
from network import Proxy
from stores import STORES, Postgres, Redis
from trial import WORKERS, Trial

SCENARIOS = []


@dataclass(frozen=True)
class Scenario:
    fault: str
    store: str
    function: object  # of a Context
    short: bool
    expects: str

    def __str__(self):
        return f"{self.fault} {self.store}"


def scenario(fault, stores=("sqlite", "redis", "postgres"), short=(), expects=""):
    """`short`: those of the stores with which it is also part of the short form. `expects`: words of the problem that must be
    found, where something is wrong on purpose."""
    def mark(function):
        SCENARIOS.extend(Scenario(fault, store, function, store in short, expects) for store in stores)
        return function
    return mark


def load(trial, fault):
    """`fault(round)`, again and again; then everything must be well."""
    trial.begin()
    for number in trial.under_load():
        trial.backlog()
        fault(number)
        trial.problems += trial.store.contradictions()
    trial.settle()
    trial.verify()


def simple(context, **more):
    return context.trial(STORES[context.store](context.directory), **more)


# ---- workers ----

@scenario("worker: SIGKILL", short=("sqlite", "redis", "postgres"))
def kill_worker(context):
    trial = simple(context)

    def fault(_):
        name = trial.chance.choice(WORKERS)
        one = trial.disturb(f"SIGKILL of {name}", [name], 0)
        trial.programs.kill(name)
        one.leased = trial.store.leases(name)  # by which nobody settles any more
        trial.sick([name])
        trial.programs.start_worker(name)
        trial.recovered(one)
    load(trial, fault)


@scenario("worker: SIGSTOP", short=("redis",))
def stop_worker(context):
    """Stopped until its leases have ended and others have its jobs, or not so long; then it goes on where it was."""
    trial = simple(context)

    def fault(number):
        name = trial.chance.choice(WORKERS)
        process = trial.programs.running[name]
        # Who is stopped in the middle of a transaction of SQLite keeps all others waiting, for longer than their leases.
        met = WORKERS if context.store == "sqlite" else [name]
        one = trial.disturb(f"SIGSTOP of {name}", met)
        process.send_signal(signal.SIGSTOP)
        one.leased = sum(trial.store.leases(other) for other in met)
        trial.sick([name], says="stopped")
        time.sleep(LEASE * (1.5 if number % 2 == 0 else 0.3 * trial.chance.random()))
        process.send_signal(signal.SIGCONT)
        trial.recovered(one)
    load(trial, fault)


@scenario("producer: SIGKILL", short=("redis",))
def kill_producer(context):
    """A batch is enqueued as a whole or not at all, and nobody knows which."""
    # In small batches, and only a little ahead of the workers: it still enqueues when the last fault comes.
    few = max(1, context.options.jobs // 40)
    trial = simple(context, ahead=2 * few, at_once=min(100, few))

    def fault(_):
        one = trial.disturb("SIGKILL of stem enqueue", [], 0)
        before = len(trial.producer.refused)
        for _ in range(20):
            child = until(lambda: trial.look() >= 0 and (trial.producer.child or not trial.producer.is_alive()), 30, "something is enqueued", 0.001)
            if child is True:
                break
            time.sleep(trial.chance.random() * trial.producer.took)  # at any instant of what it does
            try:
                child.kill()
            except OSError:
                pass
            if len(trial.producer.refused) > before:
                break
        trial.recovered(one)
    load(trial, fault)
    if not trial.producer.refused:
        trial.problems.append("no kill met a producer at work: this proved nothing")


# ---- servers ----

@scenario("server: SIGKILL", stores=("redis", "postgres"), short=("redis", "postgres"))
def kill_server(context):
    trial = simple(context)

    def fault(number):
        one = trial.disturb("SIGKILL of the server")
        whole = trial.store.kill(trial.chance)
        if whole:
            trial.sick(says="cannot reach its broker")
            # The last time for so long that all leases end, and that a worker could grow.
            trial.away(LEASE * 2 if number == trial.rounds - 1 else trial.chance.random() * LEASE)
        trial.store.start()
        trial.recovered(one)
    load(trial, fault)


@scenario("server: SIGSTOP", stores=("redis", "postgres"))
def stop_server(context):
    """It takes calls, and answers none; then it does all that it was asked meanwhile."""
    trial = simple(context)

    def fault(number):
        one = trial.disturb("SIGSTOP of the server")
        trial.store.freeze()
        if number % 2 == 0:
            trial.sick(says="cannot reach its broker")
        trial.away(LEASE * trial.chance.random() * (2 if number % 2 == 0 else 0.3))
        trial.store.thaw()
        trial.recovered(one)
    load(trial, fault)


# ---- the network ----

def proxied(context, **more):
    store = STORES[context.store](context.directory)
    proxy = context.closing(Proxy(store.port, context.seed))
    store.proxied(proxy.port)
    return context.trial(store, **more), proxy


@scenario("network: slow", stores=("redis", "postgres"))
def slow_network(context):
    """Always 20 to 50 ms each way; in each round 64 KiB a second, too."""
    trial, proxy = proxied(context)
    proxy.delay = 0.02

    def fault(_):
        one = trial.disturb("a slow network", leased=0)
        proxy.delay, proxy.rate = 0.05, 65536
        seen = trial.ledger.follow().lines
        until(lambda: trial.look() >= trial.jobs or trial.ledger.lines > seen or not trial.waiting(), 60, "jobs are done on a slow network")
        trial.watch(1)
        proxy.delay, proxy.rate = 0.02, None
        trial.recovered(one)
    load(trial, fault)


@scenario("network: RST", stores=("redis", "postgres"), short=("postgres",))
def reset_network(context):
    """Connections end in the middle of whatever they were at, half of the time after the answer was lost."""
    trial, proxy = proxied(context)

    def fault(number):
        one = trial.disturb("RST")
        if number % 2 == 0:
            proxy.deaf_to_answers = True
            time.sleep(0.02 + trial.chance.random() * 0.2)
            proxy.refuse()
            proxy.heal()
            trial.sick(says="cannot reach its broker")
            trial.away(trial.chance.random() * LEASE)
            proxy.listen()
        else:
            for _ in range(5):
                proxy.reset()
                time.sleep(trial.chance.random() * 0.1)
                one.leased += trial.leased()  # those that the next reset meets
        trial.recovered(one)
    load(trial, fault)


@scenario("network: half-open", stores=("redis", "postgres"), short=("redis",))
def half_open_network(context):
    """Nothing comes through, and nobody is told."""
    trial, proxy = proxied(context)

    def fault(_):
        one = trial.disturb("a half-open network")
        proxy.black_hole = True
        trial.sick(says="cannot reach its broker")
        trial.away(trial.chance.random() * LEASE)
        if trial.chance.random() < 0.5:
            proxy.reset()  # what was on its way never arrives; else it does, late
        proxy.heal()
        trial.recovered(one)
    load(trial, fault)


# ---- the disk ----

def small_disk(context, name, mebibytes):
    try:
        return context.closing(SmallDisk(context.directory / name, mebibytes))
    except Unavailable as reason:
        raise Skip(str(reason)) from None


@scenario("disk: database is full", stores=("sqlite",), short=("sqlite",))
def full_database(context):
    disk = small_disk(context, "disk", 48)
    trial = context.trial(STORES["sqlite"](context.directory, disk.path))

    def fault(_):
        one = trial.disturb("a full disk")
        disk.fill()
        trial.met()
        trial.watch(trial.chance.random() * LEASE)
        trial.still_met()
        disk.free()
        trial.recovered(one)
    load(trial, fault)


@scenario("disk: append-only file is full", stores=("redis",))
def full_append_only_file(context):
    """With `appendfsync always` Redis ends when it cannot write, and is started again by its service manager. With `everysec` it
    refuses what changes something."""
    disk = small_disk(context, "disk", 64)
    store = Redis(context.directory, disk.path)
    trial = context.trial(store)

    def fault(number):
        store.fsync = ("always", "everysec")[number % 2]
        store.run("config", "set", "appendfsync", store.fsync)
        one = trial.disturb(f"a full disk, appendfsync {store.fsync}")
        disk.fill()
        trial.met()
        trial.watch(trial.chance.random() * LEASE)
        trial.still_met()
        disk.free()
        store.start()
        trial.recovered(one)
    load(trial, fault)


@scenario("disk: PostgreSQL's is full", stores=("postgres",))
def full_postgres(context):
    disk = small_disk(context, "disk", 256)
    store = Postgres(context.directory, disk.path)
    trial = context.trial(store)

    def fault(_):
        one = trial.disturb("a full disk")
        disk.fill()
        trial.met()
        trial.watch(trial.chance.random() * LEASE)
        trial.still_met()
        disk.free()
        until(lambda: store.start() or store.is_up(), 60, "PostgreSQL runs again", 0.1)
        trial.recovered(one)
    load(trial, fault)


@scenario("disk: log directory is full", stores=("sqlite",))
def full_log_directory(context):
    """A log that cannot be written stops nobody, and loses no job."""
    disk = small_disk(context, "log", 1)
    trial = simple(context, STEM_WORKER_LOGFILE=f"{disk.path}/%n.log", STEM_LOG_LEVEL="debug")

    def fault(_):
        one = trial.disturb("a full log directory", leased=0)
        disk.fill()
        seen = trial.ledger.follow().distinct
        until(lambda: trial.look() >= min(seen + trial.jobs / 20, trial.jobs), 60, "jobs are done without a log")
        trial.wait_for_health()
        for name in WORKERS:
            trial.programs.running[name].send_signal(signal.SIGHUP)  # opens it anew
        disk.free()
        trial.recovered(one)
    load(trial, fault)


# ---- the clock ----

@scenario("clock: steps", short=("sqlite",))
def step_clock(context):
    """Of all workers and producers at once, as of one machine: forward over all leases, back again, and behind."""
    clock = Clock(context.options.build, context.directory / "clock")
    trial = simple(context, **clock.env)

    def fault(number):
        # As they say themselves: by the clock of here, all of their leases may have ended long ago.
        one = trial.disturb("a step of the clock", leased=sum(map(trial.programs.held, WORKERS)))
        clock.set((0, LEASE * 3, -LEASE * 2, 3600, 0.2)[number % 5] * (0.5 + trial.chance.random()))
        trial.watch(trial.chance.random() * LEASE)
        if number == trial.rounds - 1:
            trial.still_met()
            clock.set(0)
        trial.recovered(one)
    load(trial, fault)


@scenario("clock: workers differ", stores=("sqlite", "redis"))
def skewed_clocks(context):
    """By less than a lease: nobody takes a job that somebody else still has."""
    trial = simple(context)
    clocks = {}
    for name in WORKERS:
        clocks[name] = Clock(context.options.build, context.directory / f"clock-{name}")
        trial.programs.more[name] = clocks[name].env

    def fault(_):
        one = trial.disturb("clocks that differ", leased=0)
        for name in WORKERS:
            clocks[name].set((trial.chance.random() - 0.5) * LEASE / 3)
        trial.watch(0.5)
        trial.recovered(one)
    load(trial, fault)
