#!/usr/bin/env python3
"""`stem worker multi` and `stem worker healthcheck` against systemctl, on the real systemd of a box, with real workers.

    multi_bench.py BUILD_DIR [--nodes N] [--rounds N]      JSON lines; the peer's figure is in `peer`

Both sides do the same in turn, and medians are compared. Needs root, as the system tests do; prints nothing without.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
sys.dont_write_bytecode = True

from box import Box, Unavailable  # noqa: E402
from stage import Stage  # noqa: E402

MODULE = "/usr/src/stem-build/tests/modules/libeffects.so"

# Runs in the box, so that entering it is no part of a figure: times each command of each round, with what comes before
# it untimed, and prints {name: [seconds]}.
TIMER = r"""
import json, subprocess, sys, time
plan = json.load(sys.stdin)
def run(words, fail):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode and fail:
        sys.exit(f"{words[:4]}: exit status {done.returncode}\n{done.stdout.decode()[-2000:]}{done.stderr.decode()[-2000:]}")
times = {one["name"]: [] for one in plan["commands"]}
for _ in range(plan["rounds"]):
    for one in plan["commands"]:
        for words in one.get("before", []):
            run(words, False)
        began = time.perf_counter()
        run(one["words"], True)
        times[one["name"]].append(time.perf_counter() - began)
print(json.dumps(times))
"""


def median(values):
    return sorted(values)[len(values) // 2]


def compare(box, figure, ours, peer, bar, rounds, before=()):
    """`ours` and `peer` are command lines; the figure is printed with what each took in milliseconds."""
    before = [list(words) for words in before]
    plan = {"rounds": rounds, "commands": [{"name": "peer", "words": peer, "before": before},
                                           {"name": "ours", "words": ours, "before": before}]}
    times = box.run(["/usr/bin/python3", "-c", TIMER], input=json.dumps(plan), timeout=900).json()
    mine, other = median(times["ours"]) * 1e3, median(times["peer"]) * 1e3
    print(json.dumps({"figure": figure, "value": round(mine, 2), "unit": "ms", "ratio": round(mine / other, 3), "bar": bar,
                      "peer": round(other, 2)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--nodes", type=int, default=500, help="of `multi status` (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()

    with Stage(options.build) as stage:
        try:
            box = Box(**stage.box_options())
            box.boot()
        except Unavailable as reason:
            print(f"skipped: {reason}", file=sys.stderr)
            return 77
        try:
            stage.settle(box)
            # One file a worker: what many workers make of one SQLite file is another figure.
            box.write("/etc/systemd/system/stem-worker@.service.d/bench.conf",
                      "[Service]\nEnvironment=STEM_BROKER_URL=sqlite:///var/lib/stem/%i.db\n"
                      f"Environment=STEM_WORKER_APP={MODULE}\nEnvironment=STEM_WORKER_CONCURRENCY=1\n")
            box.run(["systemctl", "daemon-reload"])

            nodes = [f"n{n}" for n in range(100)]
            units = [f"stem-worker@{node}.service" for node in nodes]
            stop = ["systemctl", "stop", *units]
            box.run(["systemctl", "start", *units], timeout=300)
            compare(box, "multi start of 100 nodes against systemctl start", ["stem", "worker", "multi", "start", *nodes],
                    ["systemctl", "start", *units], 1.05, options.rounds, before=[stop])

            compare(box, "healthcheck against systemctl is-active", ["stem", "worker", "healthcheck", "--node", "n0"],
                    ["systemctl", "is-active", "stem-worker@n0.service"], 1.5, 20 * options.rounds)
            compare(box, "stem --version against systemctl is-active", ["stem", "--version"],
                    ["systemctl", "is-active", "stem-worker@n0.service"], 1.5, 20 * options.rounds)

            nodes = [f"n{n}" for n in range(options.nodes)]
            for first in range(100, options.nodes, 100):
                box.run(["stem", "worker", "multi", "start", *nodes[first:first + 100]], timeout=300)
            compare(box, f"multi status of {options.nodes} nodes against systemctl show",
                    ["stem", "worker", "multi", "status"],
                    ["systemctl", "show", "-p", "Id,ActiveState,SubState,MainPID,NRestarts,MemoryCurrent,StatusText,"
                     "ActiveEnterTimestamp,WatchdogTimestamp", "stem-worker@*.service"], 0.25, options.rounds)
        finally:
            box.close()
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
