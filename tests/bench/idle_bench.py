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


with tempfile.TemporaryDirectory(prefix="stem-idle-") as here:
    env = {**os.environ, "STEM_BROKER_URL": f"sqlite://{here}/stem.db", "STEM_RUNTIME_DIR": f"{here}/run",
           "STEM_WORKER_CONCURRENCY": "8"}
    worker = subprocess.Popen([stem, "worker", "start", "--app", module], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # A worker that has worked: every executor has run a handler, every statement is prepared.
        for _ in range(20):
            subprocess.run([stem, "enqueue", "effect.sleep", "--args", '{"ms": 0}', "--wait"], env=env,
                           check=True, stdout=subprocess.DEVNULL)
        time.sleep(2)
        before = switches(worker.pid)
        time.sleep(length)
        wakeups = (switches(worker.pid) - before) / length
        figure("idle worker of 8 threads: PSS", pss_mib(worker.pid), "MiB", 6)
        figure("idle worker of 8 threads: wake-ups", wakeups, "1/s", 1)
    finally:
        worker.terminate()
        worker.wait()
