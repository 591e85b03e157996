#!/usr/bin/env python3
"""What an idle worker costs: memory (PSS of the whole process) and wake-ups a second, as /proc tells them.

    idle_bench.py STEM MODULE [SECONDS]      the program, and tests/modules/effects, which needs no library of its own
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

stem, module = sys.argv[1:3]
length = float(sys.argv[3]) if len(sys.argv) > 3 else 20.0


def figure(name, value, unit, bar):
    print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, "bar": bar}), flush=True)


def pss_mib(pid):
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) / 1024


def switches(pid):
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        text = open(f"/proc/{pid}/task/{thread}/status").read()
        total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
    return total


def tree(pid):
    """A process and all below it."""
    pids = [pid]
    for thread in os.listdir(f"/proc/{pid}/task"):
        for child in open(f"/proc/{pid}/task/{thread}/children").read().split():
            pids += tree(int(child))
    return pids


def measure(name, handlers, bars, *words):
    with tempfile.TemporaryDirectory(prefix="stem-idle-") as here:
        env = {**os.environ, "STEM_BROKER_URL": f"sqlite://{here}/stem.db", "STEM_RUNTIME_DIR": f"{here}/run",
               "STEM_WORKER_CONCURRENCY": str(handlers)}
        worker = subprocess.Popen([stem, "worker", "start", "--app", module, *words], env=env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # A worker that has worked: every executor has run a handler, every statement is prepared.
            for _ in range(20):
                subprocess.run([stem, "enqueue", "effect.sleep", "--args", '{"ms": 0}', "--wait"], env=env,
                               check=True, stdout=subprocess.DEVNULL)
            time.sleep(2)
            all_of_it = tree(worker.pid)
            before = sum(map(switches, all_of_it))
            time.sleep(length)
            wakeups = (sum(map(switches, all_of_it)) - before) / length
            figure(f"{name}: PSS", sum(map(pss_mib, all_of_it)), "MiB", bars[0])
            figure(f"{name}: wake-ups", wakeups, "1/s", bars[1])
        finally:
            worker.terminate()
            worker.wait()


measure("idle worker of 8 threads", 8, (6, 1))
measure("idle worker of 4 processes, all of them", 4, (None, 1), "--pool", "processes")
