"""The control plane, between workers under systemd: docs/control-plane.md."""

import json
import time

from box import allow, wait_until
from workers import Workers

NODES = ("a", "b", "c")


def answers(box, *words, check=0):
    return {answer["workerId"]: answer for answer in box.run(["stem", "worker", *words, "--json"], check=check).json()}


def enqueue(box, task, args):
    return box.run(["stem", "enqueue", task, "--args", json.dumps(args)]).stdout.split()[0]


def result(box, job):
    ran = box.run(["stem", "result", job, "--json"], check=False)
    return ran.json() if ran.stdout else {}


@allow(seconds=150)
def test_orders_reach_every_worker_and_hold_over_a_restart(box):
    workers = Workers(box)
    for node in NODES:
        workers.start(node)
    began = time.monotonic()
    told = answers(box, "ping", "--timeout", "20s")
    assert {node: answer["status"] for node, answer in told.items()} == dict.fromkeys(NODES, "ok"), told
    assert time.monotonic() - began < 10, "it is over when all have answered"
    assert answers(box, "ping", "--worker", "b", "--worker", "nobody", check=1)["nobody"]["status"] == "absent"
    shown = {row["workerId"]: row for row in box.run(["stem", "worker", "status", "--json"]).json()}
    assert sorted(shown) == list(NODES) and shown["a"]["pid"] == int(box.properties("stem-worker@a", "MainPID")["MainPID"]), shown

    # Nothing is taken from a paused queue, and what is revoked meanwhile is never run: also after all were restarted.
    assert set(answers(box, "pause", "--queue", "default", "--reason", "repairs")) == set(NODES)
    revoked = enqueue(box, "effect.append", {"file": "/var/lib/stem/out", "text": "revoked"})
    kept = enqueue(box, "effect.append", {"file": "/var/lib/stem/out", "text": "kept"})
    assert set(answers(box, "revoke", revoked, "--reason", "wrong customer")) == set(NODES)
    box.run(["systemctl", "kill", "-s", "KILL", "stem-worker@c"])
    box.run(["systemctl", "restart", "stem-worker@a", "stem-worker@b"])
    for node in NODES:
        box.wait_for_unit(f"stem-worker@{node}", "active/running")
    wait_until(lambda: all(answer["payload"].get("pid") == int(box.properties(f"stem-worker@{node}", "MainPID")["MainPID"])
                           for node, answer in answers(box, "ping", check={0, 1}).items()), 20, "all answer anew")
    for node, answer in answers(box, "inspect").items():
        assert answer["payload"]["pausedQueues"] == ["default"], (node, answer)
        assert [one["taskId"] for one in answer["payload"]["revoked"]] == [revoked], (node, answer)
    assert not box.exists("/var/lib/stem/out")
    assert "paused: default" in box.properties("stem-worker@a", "StatusText")["StatusText"]
    assert set(answers(box, "resume", "--queue", "default")) == set(NODES)
    wait_until(lambda: result(box, kept).get("state") == "succeeded", 20, "the other job has run")
    wait_until(lambda: result(box, revoked).get("state") == "cancelled", 20, "the revoked job is cancelled")
    assert result(box, revoked)["meta"]["revokedReason"] == "wrong customer"
    assert box.read("/var/lib/stem/out").split() == ["kept"]


@allow(seconds=90)
def test_revoke_with_terminate_reaches_a_running_handler(box):
    workers = Workers(box)
    workers.start("a")
    job = enqueue(box, "effect.sleep", {"ms": 60000})
    wait_until(lambda: answers(box, "stats")["a"]["payload"]["busy"] == 1, 10, "it runs")
    active = answers(box, "inspect", "active")["a"]["payload"]["active"]
    assert [one["id"] for one in active] == [job], active
    told = answers(box, "revoke", job, "--terminate", "--requester", "ann")
    assert told["a"]["payload"]["inflight"] == [job], told
    # The handler looks at its context, and asks for a retry, which there will not be.
    wait_until(lambda: result(box, job).get("state") == "cancelled", 20, "the job is cancelled")
    assert result(box, job)["meta"]["revokedBy"] == "ann"
    assert answers(box, "stats")["a"]["payload"]["cancelled"] == 1


@allow(seconds=90)
def test_a_worker_that_is_shut_down_stays_down_and_obeys_no_old_order_when_it_comes_back(box):
    workers = Workers(box)
    for node in ("a", "b"):
        workers.start(node)
    told = answers(box, "shutdown", "--worker", "a")
    assert told["a"]["payload"]["status"] == "initiated", told
    box.wait_for_unit("stem-worker@a", "inactive/dead")
    shown = box.properties("stem-worker@a", "Result", "NRestarts", "ExecMainStatus")
    assert shown == {"Result": "success", "NRestarts": "0", "ExecMainStatus": "0"}, shown
    assert any("told to through the broker" in (entry.get("MESSAGE") or "") for entry in box.journal("stem-worker@a"))
    assert list(answers(box, "ping")) == ["b"], "who has ended is not waited for"
    assert answers(box, "shutdown", "--worker", "a", check=1)["a"]["status"] == "absent"
    workers.start("a")
    assert sorted(answers(box, "ping")) == ["a", "b"]
    assert box.properties("stem-worker@b", "NRestarts")["NRestarts"] == "0"


@allow(seconds=60)
def test_a_worker_that_hangs_is_silent_and_silence_is_no_success(box):
    workers = Workers(box)
    workers.start("a")
    workers.start("b")
    pid = box.properties("stem-worker@a", "MainPID")["MainPID"]
    box.run(["kill", "-STOP", pid])
    began = time.monotonic()
    told = answers(box, "ping", "--timeout", "2s", check=1)
    assert {node: answer["status"] for node, answer in told.items()} == {"a": "no answer", "b": "ok"}, told
    assert 2 <= time.monotonic() - began < 8
    # It misses an order that expires; what is remembered it obeys.
    box.run(["kill", "-CONT", pid])
    wait_until(lambda: answers(box, "ping", check={0, 1})["a"]["status"] == "ok", 20, "it answers again")
