"""Workers are killed with SIGKILL at random, under load: nothing that was accepted is lost."""

import json
import os
import random
import signal
import subprocess
import time

from box import allow, execute, wait_until

KILLS = 50
BATCH = 160  # jobs enqueued before each kill: more than are done until then


class Fleet:
    """Worker processes of the host over one SQLite file."""

    def __init__(self, stage, tmp, count):
        self.stage, self.tmp = stage, tmp
        self.env = stage.environment(
            STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run",
            # Taken over soon; and being handed out often is no fault of a job's here.
            STEM_VISIBILITY_TIMEOUT="1s", STEM_MAX_DELIVERIES="0")
        self.log = open(tmp / "workers.log", "ab")
        self.workers = {f"w{n}": self.start(f"w{n}") for n in range(count)}

    def start(self, node):
        return subprocess.Popen(
            ["stem", "worker", "start", "--node", node, "--concurrency", "4", "--app",
             str(self.stage.built("tests/modules/libeffects.so"))],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def kill(self, node):
        worker = self.workers[node]
        assert worker.poll() is None, f"{node} ended by itself, status {worker.returncode}\n{self.tail()}"
        worker.kill()
        worker.wait()
        self.workers[node] = self.start(node)

    def stem(self, *words, **more):
        ran = execute(["stem", *words], env=self.env, **more)
        assert ran.rc == 0, f"stem {' '.join(words[:3])}: {ran.rc}\n{ran.stderr}\n{self.tail()}"
        return ran

    def left(self):
        return sum(queue["ready"] + queue["delayed"] + queue["leased"] for queue in self.stem("queues", "--json").json())

    def tail(self):
        return (self.tmp / "workers.log").read_text(errors="replace")[-4000:]

    def close(self):
        for worker in self.workers.values():
            worker.kill()
            worker.wait()
        self.log.close()


@allow(seconds=180)
def test_after_fifty_kills_every_job_was_done_and_every_result_has_its_job(stage, tmp):
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    chance = random.Random(seed)
    effects = tmp / "effects"
    fleet = Fleet(stage, tmp, 2)
    try:
        jobs = {}  # id: number
        for kill in range(KILLS):
            numbers = range(len(jobs), len(jobs) + BATCH)
            lines = "".join(json.dumps({"file": str(effects), "text": str(n), "ms": chance.randrange(12)}) + "\n"
                            for n in numbers)
            ids = fleet.stem("enqueue", "effect.append", "--args-from", "-", input=lines).lines()
            assert len(set(ids)) == BATCH
            jobs.update(zip(ids, numbers))
            time.sleep(chance.random() * 0.25)  # the instant is the experiment
            fleet.kill(chance.choice(list(fleet.workers)))
        assert len(jobs) == KILLS * BATCH

        wait_until(lambda: fleet.left() == 0, deadline=90, interval=0.1, what=f"all jobs have ended (seed {seed})")
        for worker in fleet.workers.values():
            worker.send_signal(signal.SIGTERM)
        for node, worker in fleet.workers.items():
            assert worker.wait(20) == 0, f"{node}: status {worker.returncode} after SIGTERM\n{fleet.tail()}"

        seen = effects.read_text().split()
        missing = set(jobs.values()) - {int(text) for text in seen}
        assert not missing, f"{len(missing)} effects were never seen, {sorted(missing)[:10]}… (seed {seed})"
        assert {int(text) for text in seen} <= set(jobs.values())
        # At least once, and seldom more: a job is only repeated if it was in the hands of a worker that was killed.
        assert len(seen) > len(jobs), f"no kill met a job at work: this proved nothing (seed {seed})"
        assert len(seen) - len(jobs) <= KILLS * 4 * 3, f"{len(seen)} effects of {len(jobs)} jobs (seed {seed})"

        results = []
        ids = list(jobs)
        for start in range(0, len(ids), 500):
            results += [json.loads(line) for line in fleet.stem("result", "--json", *ids[start:start + 500]).lines()]
        assert [result["id"] for result in results] == ids, f"results without their job, or none (seed {seed})"
        other = [result for result in results if result["state"] != "succeeded"]
        assert not other, f"{len(other)} did not succeed, such as {other[0]} (seed {seed})"
        assert all(queue["dead"] == 0 for queue in fleet.stem("queues", "--json").json())
    finally:
        fleet.close()
