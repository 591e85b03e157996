"""One trial: a load of jobs, a fault again and again in the middle of it, and what must hold afterwards."""

import random
import time
from collections import Counter

from fleet import LEASE, MOST_HELD, PASSING, Producer, Programs, until
from ledger import Ledger
from machine import Stalls

RECOVERS_WITHIN = 60  # seconds, on a machine that has other things to do
DRAINS_WITHIN = 120
GOES_ON_WITHIN = 60
MEMORY = 24  # MiB that a worker may grow by while its broker is away
SETTLES_WITHIN = 2 * LEASE  # an effect that was never settled is at most so much older than the fault that prevented it
WORKERS = ("w1", "w2", "w3")


class Disturbance:
    """What was done to which processes (None = all), from when to when; `leased`: how many jobs they held then that may run twice;
    `kept`: how many that may not."""

    def __init__(self, what, pids, began, ended, leased):
        self.what, self.pids, self.began, self.ended, self.leased, self.kept = what, pids, began, ended, leased, 0

    def explains(self, effect):
        return (self.pids is None or effect.pid in self.pids) and self.began - SETTLES_WITHIN <= effect.at <= self.ended + SETTLES_WITHIN


class Trial:
    """What a scenario works on. It calls disturb() around each fault, and recovered() when it is over."""

    def __init__(self, options, store, directory, seed, workers=WORKERS, ahead=1500, at_once=100, most_ms=25, programs=None, ledger=None,
                 **variables):
        self.options, self.store, self.directory = options, store, directory
        self.chance = random.Random(seed)
        self.jobs, self.rounds = options.jobs, options.rounds
        self.ledger = ledger or Ledger(directory / "ledger")
        self.programs = programs or Programs(options.build, directory, store.url, **variables)
        self.workers = list(workers)
        self.producer = Producer(self.programs, self.ledger, random.Random(seed + 1), self.jobs, ahead, most_ms, at_once)
        self.disturbances, self.problems = [], []
        self.stalls = Stalls()
        self.recovery = self.drain = 0.0
        self.accepted = 0  # slots, where schedules are the producer
        self.grown, self.lost, self.duplicates, self.bound = 0.0, 0, 0, 0
        self.notes = []

    # ---- the load ----

    def begin(self):
        for name in self.workers:
            self.programs.start_worker(name)
        self.wait_for_health()
        self.producer.start()

    def look(self):
        """Follows the ledger; the producer's own failure is the trial's."""
        self.ledger.follow()
        if self.producer.failure:
            raise self.producer.failure
        return self.ledger.distinct

    def under_load(self):
        """Yields the number of each round when its share of the jobs has been done, at an instant that is left to chance."""
        for number in range(self.rounds):
            share = self.jobs * (number + 0.5) / (self.rounds + 1)
            self.go_on_until(lambda: self.look() >= share, f"{share:.0f} of {self.jobs} jobs have had their effect")
            time.sleep(self.chance.random() * 0.1)  # the instant is the experiment
            yield number

    def go_on_until(self, condition, what):
        """However slow the machine is, as long as something goes on."""
        seen, end = None, 0.0
        while not condition():
            now = len(self.producer.accepted), self.ledger.lines
            if now != seen:
                seen, end = now, time.monotonic() + GOES_ON_WITHIN
            if time.monotonic() > end:
                raise AssertionError(f"nothing went on for {GOES_ON_WITHIN} s, and not yet: {what}")
            time.sleep(0.01)

    # ---- faults ----

    def disturb(self, what, names=None, leased=None):
        """Told before the fault. Returns the disturbance, whose end recovered() sets. `leased`: what they hold now, unless it is
        told."""
        pids = None if names is None else {self.programs.pid(name) for name in names}
        if leased is None:
            leased = self.leased(names)
        one = Disturbance(what, pids, time.monotonic(), float("inf"), leased)
        self.disturbances.append(one)
        return one

    def leased(self, names=None):
        """How many jobs they hold now, as the broker has it."""
        return sum(map(self.store.leases, names or self.workers))

    def still_met(self, names=None):
        """The fault goes on: what they hold now, as they say themselves, is met by it, too."""
        self.disturbances[-1].leased += sum(map(self.programs.held, names or self.workers))

    def backlog(self):
        """Waits until jobs wait for workers, so that the fault meets some, or until there is no hope of that: on a machine that is
        busy with other things the producer may be slower than they are. What the faults did meet is in the table."""
        end = time.monotonic() + 10
        while self.producer.is_alive() and len(self.producer.accepted) - self.look() < self.producer.ahead // 3 and time.monotonic() < end:
            time.sleep(0.01)

    def away(self, seconds, names=None):
        """The broker has gone away, and stays away for so long; meanwhile workers are looked at. They must not grow, and what they hold
        now is the most that can run twice."""
        names = names or self.workers
        one = self.disturbances[-1]
        one.leased = max(one.leased, sum(map(self.programs.held, names)))
        self.watch(seconds, names)

    def watch(self, seconds, names=None):
        """How much workers grow meanwhile."""
        names = names or self.workers
        before = {name: self.programs.resident(name) for name in names}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.grown = max([self.grown, *(self.programs.resident(name) - before[name] for name in names)])
            time.sleep(0.05)

    def sick(self, names=None, within=20, kind="worker", says=None):
        """Waits until the healthcheck of each tells that something is wrong; where `says` is given, in these words."""
        for name in names or self.workers:
            said = []

            def is_sick():
                said[:] = [self.programs.health(name, kind)]
                return said[0] is not None and (says is None or says in said[0])
            try:
                until(is_sick, within, "", 0.1)
            except AssertionError:
                self.problems.append(f"healthcheck of {name} during the fault: {said[0] or 'ok'}" + (f", not '{says}'" if says else ""))

    def met(self):
        """Waits until the fault is felt: by the producer, which is refused, or by a worker, which says so. A full disk hurts only
        those who need more of it: a worker whose pages are there goes on, and is well."""
        before = len(self.producer.refused)
        until(lambda: self.look() >= 0 and (len(self.producer.refused) > before or not self.producer.is_alive() or any(self.programs.health(name) for name in self.workers)),
              60, "somebody feels the fault", 0.1)

    def wait_for_health(self, names=None, kind="worker"):
        for name in names or self.workers:
            said = []

            def is_well():
                if why := self.programs.ended(name):
                    raise AssertionError(why)
                said[:] = [self.programs.health(name, kind)]
                return said[0] is None
            try:
                until(is_well, RECOVERS_WITHIN, "", 0.05)
            except AssertionError as error:
                raise AssertionError(f"{name} is not well: {said[0] if said else error}") from None

    def recovered(self, disturbance):
        """The fault is over: waits until all workers are well, and effects come again."""
        began = disturbance.ended = time.monotonic()
        self.wait_for_health()
        seen = self.ledger.follow().lines
        until(lambda: self.look() >= self.jobs or self.ledger.lines > seen or not self.waiting(), RECOVERS_WITHIN,
              f"jobs are done again after {disturbance.what}")
        self.recovery = max(self.recovery, time.monotonic() - began)
        disturbance.ended = time.monotonic()

    def waiting(self):
        """Whether there is work at all."""
        return self.producer.is_alive() or len(self.producer.accepted) > self.ledger.distinct

    def queues(self):
        """Nothing where the broker is too busy to answer in time."""
        ran = self.programs.run("queues", "--json", rc=None)
        if ran.rc not in (0, *PASSING):
            raise AssertionError(f"stem queues: status {ran.rc}: {ran.stderr}")
        return ran.json() if ran.rc == 0 else None

    def left(self):
        queues = self.queues()
        return None if queues is None else sum(queue["ready"] + queue["delayed"] + queue["leased"] for queue in queues)

    # ---- what must hold ----

    def settle(self):
        """Waits for the end of the load, and of everything."""
        self.go_on_until(lambda: self.look() >= 0 and not self.producer.is_alive(), "all jobs are enqueued")
        began = time.monotonic()
        until(lambda: self.left() == 0, DRAINS_WITHIN, f"all queues are empty; left: {self.queues()}", 0.1)
        self.drain = time.monotonic() - began
        self.ledger.follow()

    def verify(self):
        """After settle(), with workers still there."""
        problems, producer = self.problems, self.producer
        problems += producer.problems
        if len(producer.accepted) < self.jobs:
            problems.append(f"only {len(producer.accepted)} of {self.jobs} jobs were accepted")
        effects, accepted = self.ledger.effects, producer.accepted
        if self.ledger.torn():
            problems.append(f"the ledger ends in the middle of a line: {self.ledger.torn()!r}")

        lost = [job for job in accepted if job not in effects]
        self.lost = len(lost)
        self.told(problems, "accepted jobs without effect", lost)
        self.told(problems, "effects of another number than the job's", [job for job, n in accepted.items() if any(e.number != n for e in effects.get(job, ()))])
        doubtful = {n for batch in producer.refused for n in batch.numbers}
        strangers = [job for job, seen in effects.items() if job not in accepted and seen[0].number not in doubtful]
        self.told(problems, "effects of jobs that nobody enqueued", strangers)
        done = {seen[0].number for job, seen in effects.items() if job not in accepted}
        self.told(problems, "refused batches of which a part was enqueued",
                  [str(batch.numbers) for batch in producer.refused if 0 < len(done.intersection(batch.numbers)) < len(batch.numbers)])
        numbers = Counter(seen[0].number for seen in effects.values())
        self.told(problems, "numbers with two jobs: something was enqueued twice", [n for n, count in numbers.items() if count > 1])

        results = self.store.results()
        self.told(problems, "results without effect", [job for job in results if job not in effects])
        self.told(problems, "effects without result", [job for job in effects if job not in results])
        should_die = {job for job, seen in effects.items() if seen[0].number in producer.wanted_dead}
        self.told(problems, "jobs that succeeded, but whose result says otherwise",
                  [f"{job} {results.get(job)}" for job in effects if job not in should_die and results.get(job, "succeeded") != "succeeded"])
        dead = self.store.dead()
        self.told(problems, "dead letters that should be none", [job for job in dead if job not in should_die])
        self.told(problems, "jobs that should be dead letters, and are not", [job for job in should_die if job not in dead])
        self.told(problems, "dead letters that are there twice", [job for job, count in Counter(dead).items() if count > 1])

        self.count_duplicates(problems, effects)
        if self.grown > MEMORY:
            problems.append(f"a worker grew by {self.grown:.1f} MiB while its broker was away (bound: {MEMORY})")
        self.programs.run("dlq", "purge", "--all", "--yes")
        problems += self.store.contradictions()
        problems += self.leftovers()

    def leftovers(self):
        """Leases and entries that have ended may lie about until an idle worker clears them away: that is waited for."""
        left = []
        try:
            until(lambda: not left_over(left, self.store), 30, "", 0.2)
        except AssertionError:
            return [f"leaked: {what}" for what in left]
        return []

    def count_duplicates(self, problems, effects):
        self.duplicates, unexplained = 0, []
        stalls = [Disturbance("the machine stood still", None, *stall, MOST_HELD * len(self.workers)) for stall in self.stalls.seen]
        if stalls:
            self.notes.append(f"the machine stood still {len(stalls)} times, for {max(one.ended - one.began for one in stalls):.1f} s at the most")
        causes = self.disturbances + stalls
        for seen in effects.values():
            self.duplicates += len(seen) - 1
            # A worker that was stopped may have its effect after that of the one that took over.
            strange = [effect for effect in seen if not any(one.explains(effect) for one in causes)]
            if len(strange) > 1:
                unexplained.append(", ".join(f"{effect.job} by {self.programs.pids.get(effect.pid)} at {effect.at:.3f}" for effect in strange))
        met = sum(one.leased for one in self.disturbances)
        self.bound = met + sum(one.leased for one in stalls)
        if not met and not any(one.kept for one in self.disturbances) and any(one.pids != set() for one in self.disturbances):
            self.notes.append("no fault met a job that was leased: this proved little")
        if met >= self.jobs:
            problems.append(f"the faults met {met} leased jobs of {self.jobs}: that there are no more duplicates than these proves nothing; take more jobs")
        self.told(problems, "effects that came twice without a fault near them", unexplained)
        if self.duplicates > self.bound:
            problems.append(f"{self.duplicates} duplicates; the faults met {self.bound} leased jobs at the most")

    def told(self, problems, what, found):
        found = list(found)
        if found:
            problems.append(f"{len(found)} {what}: {', '.join(map(str, found[:4]))}{'…' if len(found) > 4 else ''}")

    def so_far(self):
        """For a trial that did not come to its end."""
        effects = self.ledger.follow().effects
        missing = [job for job in self.producer.accepted if job not in effects]
        return [f"by then {len(effects)} jobs had their effect, and {len(missing)} of those that were accepted had not", *self.producer.problems]

    def close(self):
        self.stalls.close()
        if self.producer.is_alive():
            self.producer.end()
        self.programs.close()
        self.store.close()


def left_over(left, store):
    left[:] = list(store.leftovers())
    return left
