"""Dead letters: listed, shown, replayed and purged."""

import json
import os
import pty
import subprocess

from box import execute, wait_until
from test_scheduler import Processes, redis_server


def test_dead_letters_are_listed_replayed_and_purged(stage, tmp):
    dead_jobs(stage, tmp, f"sqlite://{tmp}/stem.db")


def test_dead_letters_are_listed_replayed_and_purged_on_redis(stage, tmp):
    with redis_server(tmp) as url:
        dead_jobs(stage, tmp, url)


def dead_jobs(stage, tmp, url):
    with Processes(stage, tmp, url) as all:
        def dlq(*words, rc=0, **more):
            return all.run("dlq", *words, rc=rc, **more)

        assert dlq("list").stdout == "no dead letter matches\n"
        assert dlq("list", "--json").json() == []
        start_worker(stage, all, "w")
        # No module knows these tasks: their jobs die at once.
        for n in range(3):
            all.run("enqueue", "no.such", "--id", f"a{n}")
        all.run("enqueue", "no.other", "--id", "b0")
        wait_until(lambda: len(dlq("list", "--json").json()) == 4, 20, "all have died")
        rows = dlq("list", "--json", "--task", "no.such").json()
        assert sorted(row["id"] for row in rows) == ["a0", "a1", "a2"] and rows[0]["queue"] == "default", rows
        assert rows[0]["reason"] == "unregistered-task" and rows[0]["deadAt"], rows
        table = dlq("list", "--limit", "2")
        assert len(table.lines()) == 3 and table.lines()[0].split() == ["ID", "QUEUE", "TASK", "ATTEMPTS", "DIED", "REASON"], table
        assert "--limit shows more" in table.stderr
        assert dlq("list", "--since", "2000-01-01T00:00:00Z", "--queue", "none").stdout == "no dead letter matches\n"
        shown = json.loads(dlq("show", "b0").stdout)
        assert shown["envelope"]["name"] == "no.other" and shown["envelope"]["id"] == "b0", shown
        dlq("show", "c0", rc=66)

        # Nothing is destroyed by mistake.
        before = dlq("list", "--json").stdout
        assert "say --queue" in dlq("purge", "--yes", rc=64).stderr
        assert "say --yes" in dlq("purge", "--all", rc=64).stderr
        assert "say --yes" in dlq("replay", "a0", rc=64).stderr
        assert "yesterday" in dlq("purge", "--since", "yesterday", "--yes", rc=64).stderr
        dry = dlq("purge", "--all", "--dry-run")
        assert "4 dead letters would be purged (dry run: nothing was done)" in dry.stdout, dry
        assert dlq("replay", "--task", "no.such", "--dry-run", "--json").json() == {
            "jobs": [row["id"] for row in rows], "replayed": 0, "refused": [], "applied": False}
        assert dlq("list", "--json").stdout == before
        assert answered(all.env, "n", "dlq", "purge", "--all") == 1
        assert dlq("list", "--json").stdout == before

        # A job that is replayed keeps its id, and dies again.
        all.kill("w")
        assert "1 dead letter replayed" in dlq("replay", "a1", "--yes").stdout
        dlq("show", "a1", rc=66)
        queued = all.run("result", "a1", rc=None)
        assert "queued" in queued.stdout, queued
        assert dlq("replay", "--task", "no.such", "--yes", "--json").json()["replayed"] == 2
        start_worker(stage, all, "w2")
        wait_until(lambda: len(dlq("list", "--json").json()) == 4, 20, "all have died again")

        assert answered(all.env, "y", "dlq", "purge", "a0", "b0") == 0
        assert sorted(row["id"] for row in dlq("list", "--json").json()) == ["a1", "a2"]
        assert dlq("purge", "--limit", "1", "--yes", "--json").json()["purged"] == 1
        assert dlq("purge", "--all", "-y").stdout.endswith("1 dead letter purged\n")
        assert dlq("purge", "--all", "-y").stdout == "no dead letter matches\n"


def start_worker(stage, all, name):
    all.start(name, "worker", "start", "--node", name, "--app", str(stage.built("tests/modules/libeffects.so")))


def answered(env, answer, *words):
    """The exit status of a command that asks on a terminal, and gets that answer."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(["stem", *words], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        os.write(ours, answer.encode() + b"\n")
        running.wait(20)
    os.close(ours)
    return running.returncode


def test_a_job_whose_signature_would_be_refused_is_not_replayed(stage, tmp):
    with Processes(stage, tmp, f"sqlite://{tmp}/stem.db") as all:
        start_worker(stage, all, "w")
        all.run("enqueue", "no.such", "--id", "plain")
        wait_until(lambda: len(all.run("dlq", "list", "--json").json()) == 1, 20, "it has died")
        signed = all.env | {"STEM_SIGNING_KEYS": "k:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "STEM_SIGNING_ACTIVE_KEY": "k"}
        ran = execute(["stem", "enqueue", "no.such", "--id", "signed"], env=signed)
        assert ran.rc == 0, ran
        wait_until(lambda: len(all.run("dlq", "list", "--json").json()) == 2, 20, "both have died")
        all.kill("w")
        ran = execute(["stem", "dlq", "replay", "--all", "--yes"], env=signed)
        assert ran.rc == 1 and "job plain is not replayed: its signature would be refused: " in ran.stderr, ran
        assert "1 dead letter replayed" in ran.stdout, ran
        assert [row["id"] for row in all.run("dlq", "list", "--json").json()] == ["plain"]
