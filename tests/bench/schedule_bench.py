#!/usr/bin/env python3
"""What 100,000 schedules cost, of which ten are due each second: the same ten alone beside them.

    schedule_bench.py STEM [URL]      the program; a broker of its own (default: a new SQLite file)
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

stem = sys.argv[1]
LENGTH = 20.0


def figure(name, value, unit, bar=None):
    print(json.dumps({"figure": name, "value": round(value, 3), "unit": unit, **({"bar": bar} if bar else {})}), flush=True)


def pss_mib(pid):
    return int(re.search(r"^Pss:\s+(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1]) / 1024


def cpu_ms(pid):
    return sum(int(open(f"/proc/{pid}/task/{thread}/schedstat").read().split()[0]) for thread in os.listdir(f"/proc/{pid}/task")) / 1e6


def measure(count, here):
    url = sys.argv[2] + f"?namespace=bench{count}" if len(sys.argv) > 2 else f"sqlite://{here}/{count}.db"
    env = {**os.environ, "STEM_BROKER_URL": url, "STEM_RUNTIME_DIR": f"{here}/run{count}"}
    entries = [{"name": f"s{n}", "task": "t", "schedule": "every:1s" if n < 10 else f"{n % 60} {n // 60 % 24} 1 1 *", "args": {"n": n}}
               for n in range(count)]
    with open(f"{here}/{count}.json", "w") as file:
        json.dump(entries, file)

    def apply(name):
        subprocess.run([stem, "schedule", "apply", "-f", f"{here}/{name}", "-y"], env=env, check=True, stdout=subprocess.DEVNULL)

    began = time.monotonic()
    apply(f"{count}.json")
    figure(f"apply {count}", time.monotonic() - began, "s")
    log = open(f"{here}/{count}.log", "w+")
    began = time.monotonic()
    scheduler = subprocess.Popen([stem, "scheduler", "start"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while "schedules read in" not in open(log.name).read():
            if scheduler.poll() is not None or time.monotonic() - began > 120:
                raise SystemExit(f"the scheduler does not start: {open(log.name).read()}")
            time.sleep(0.005)
        figure(f"ready with {count}", time.monotonic() - began, "s")
        time.sleep(2)
        figure(f"PSS with {count}", pss_mib(scheduler.pid), "MiB")
        used = cpu_ms(scheduler.pid)
        time.sleep(LENGTH)
        each = (cpu_ms(scheduler.pid) - used) / LENGTH
        figure(f"processor with {count}, 10 due a second", each, "ms/s")
        used, edits = cpu_ms(scheduler.pid), 20
        began = time.monotonic()
        for n in range(edits):
            subprocess.run([stem, "schedule", "disable" if n % 2 else "enable", "s0"], env=env, check=True, stdout=subprocess.DEVNULL)
            with open(f"{here}/one.json", "w") as file:
                json.dump([{"name": f"s{count - 1}", "task": "t", "schedule": f"every:{n + 100}h"}], file)
            apply("one.json")
        idle = each * (time.monotonic() - began)
        figure(f"processor for an edit of one of {count}", (cpu_ms(scheduler.pid) - used - idle) / edits / 2, "ms")
        return each
    finally:
        scheduler.terminate()
        scheduler.wait()


with tempfile.TemporaryDirectory(prefix="stem-schedules-") as here:
    few, many = measure(10, here), measure(100_000, here)
    figure("processor with 100,000 against 10", many / few, "times", bar=2)
