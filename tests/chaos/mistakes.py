"""Trials in which something is wrong on purpose: each must be found, or the others prove nothing."""

import json
import sqlite3
from contextlib import closing

import scheduling
from faults import load, scenario, simple
from stores import Redis


def mistake(what, expects, *sql, afterwards=False):
    """Statements that are run on a SQLite database behind the workers' backs, in the middle of the load or after it."""
    def damage(trial):
        with closing(sqlite3.connect(trial.store.path, timeout=30, isolation_level=None)) as database:
            for statement in sql:
                assert database.execute(statement).rowcount > 0, f"'{statement}' changes nothing"

    @scenario(f"mistake: {what}", stores=("sqlite",), expects=expects)
    def trial_of_it(context):
        trial = simple(context)
        trial.begin()
        for _ in trial.under_load():
            one = trial.disturb("nothing that a worker would notice", [], 0)
            trial.backlog()
            if not afterwards:
                damage(trial)
            trial.recovered(one)
        trial.settle()
        if afterwards:
            damage(trial)
        trial.verify()


# Of those that nobody has begun: what is leased is about to be settled.
mistake("a job is lost", "accepted jobs without effect",
        "DELETE FROM job WHERE key IN (SELECT key FROM job WHERE attempt = 0 AND key NOT IN (SELECT key FROM dead) ORDER BY key DESC LIMIT 3)")
mistake("leases are forgotten", "without a fault near them", "DELETE FROM lease")
mistake("a result is lost", "effects without result", "DELETE FROM entry WHERE key IN (SELECT key FROM entry WHERE key LIKE 'result:%' LIMIT 2)", afterwards=True)
mistake("a result without a job", "results without effect",
        """INSERT INTO entry(version, key, value) VALUES(1, 'result:ghost', '{"state":"succeeded"}')""", afterwards=True)
mistake("a lease is left", "leaked: table lease", "INSERT INTO lease VALUES(7, 8, 9, 9000000000000000000, 'w1')", afterwards=True)
mistake("a dead letter that should be none", "dead letters that should be none", "UPDATE job SET id = 'ghost' WHERE key = (SELECT min(key) FROM dead)",
        afterwards=True)


@scenario("mistake: jobs run twice in the shadow of a fault", stores=("sqlite",), expects="duplicates; the faults met")
def shadow(context):
    """A fault of all, which met fewer jobs than come twice near it."""
    trial = simple(context)

    def fault(_):
        one = trial.disturb("nothing that a worker would notice")
        text = trial.ledger.path.read_bytes()
        with trial.ledger.path.open("ab", buffering=0) as file:
            for _ in range(10):
                file.write(text[:text.rfind(b"\n") + 1])
        trial.recovered(one)
    load(trial, fault)


class Forgetful(Redis):
    def words(self):
        return ["no" if word == "yes" else word for word in super().words()]


@scenario("mistake: a server that keeps nothing", stores=("redis",), expects="of those that were accepted had not")
def forgetful(context):
    trial = context.trial(Forgetful(context.directory))

    def fault(_):
        one = trial.disturb("SIGKILL of the server")
        trial.store.kill()
        trial.store.start()
        trial.recovered(one)
    load(trial, fault)


@scenario("mistake: a slot runs twice", stores=("sqlite",), expects="without a fault near them")
def twice(context):
    trial = scheduling.schedules(context)

    def fault(_):
        one = scheduling.nobody(trial, "a slot that is published by somebody else")
        slot = next(iter(trial.ledger.effects))
        trial.programs.run("enqueue", "ledger.note", "--id", slot, "--args", json.dumps({"file": str(trial.ledger.path)}))
        trial.recovered(one)
    scheduling.run(trial, fault)
