"""What an operator sees of a fleet under systemd: `stem observe`, `stem top`."""

import json
import re

from box import allow, wait_until
from workers import BROKER, Workers

NODES = ("a", "b")
PLACE = {"STEM_BROKER_URL": BROKER}


def see(box, *words, check=True):
    return box.run(["stem", *words], check=check, user="stem", env=PLACE)


@allow(seconds=150)
def test_what_workers_and_the_scheduler_do_is_seen(box):
    workers = Workers(box)
    for node in NODES:
        workers.start(node)
    box.write("/etc/stem/schedules.yaml", "schedules:\n  - {name: tick, task: effect.sleep, schedule: 'every:1s', args: {ms: 30}}\n", mode=0o644)
    see(box, "schedule", "apply", "--file", "/etc/stem/schedules.yaml", "--yes")
    box.run(["systemctl", "start", "stem-scheduler"])
    for number in range(20):
        workers.enqueue("effect.sleep", json.dumps({"ms": 10 + number}))
    box.run(["stem", "enqueue", "effect.fail", "--args", '{"message": "no"}', "--max-retries", "0"], user="stem", env=PLACE)
    wait_until(lambda: see(box, "observe", "dlq", "--json").json()["dead"] == 1, 20, "the job that fails is dead")

    def scheduled():
        sample = see(box, "observe", "schedules", "--json").json()
        return sample if sample["entries"][0]["status"]["runs"] >= 2 else None
    schedules = wait_until(scheduled, 20, "the schedule has run")
    assert "scheduler" in schedules["leader"]["title"] and schedules["overdue"] == 0 and schedules["maxDriftMs"] < 5000, schedules
    assert re.search(r"^leader: scheduler on ", see(box, "observe", "schedules").stdout, re.M)

    queue = next(row for row in see(box, "observe", "queues", "--json").json() if row["queue"] == "default")
    assert queue["workers"] == list(NODES) and queue["dead"] == 1 and not queue["paused"], queue
    figures = see(box, "top", "--json", "--count", "1").json()
    task = next(one for one in figures["tasks"] if one["task"] == "effect.sleep")
    assert task["done"] >= 20 and 5 < task["p50Ms"] < 2000 and figures["donePerSecond"] is not None, figures

    # A worker that hangs is seen to be late, and so is one that was killed, until its heartbeat ends.
    box.run(["systemctl", "kill", "--signal", "STOP", "stem-worker@b"])
    wait_until(lambda: see(box, "observe", "workers", check={0, 1}).rc == 1, 40, "the worker that is stopped is late")
    rows = {row["workerId"]: row for row in see(box, "observe", "workers", "--json", check={0, 1}).json()}
    assert not rows["a"]["stale"] and rows["b"]["stale"], rows
