#!/usr/bin/env python3
"""Checks tool/quality/run_quality_checks.sh with gates of its own.

Usage: tests/quality_test.py [SOURCE_DIR]
"""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Checks

GATES = {
    "good": "echo looked at 7 things",
    "bad": "echo first; echo 'the | reason'; exit 3",
    "absent": "echo 'no such program'; exit 77",
    "table": "echo '| a | b |' >\"$QUALITY_LOGS/table.md\"; echo wrote one",
    # A grandchild that does not end by itself, and says that it runs; another that ends at once and keeps the group busy.
    "slow": "sleep 600 & echo $! >\"$QUALITY_LOGS/pid\"; echo started >\"$QUALITY_LOGS/started\"; wait",
}


class Place:
    """A folder of gates, a folder for logs, and calls of the script."""

    def __init__(self, root, directory):
        self.script = root / "tool/quality/run_quality_checks.sh"
        self.gates, self.logs = directory / "gates", directory / "logs"
        self.report = directory / "report.md"
        self.gates.mkdir()
        self.logs.mkdir()
        for name, text in GATES.items():
            gate = self.gates / name
            gate.write_text(f"#!/bin/sh\n# What {name} is about\n{text}\n")
            gate.chmod(0o755)
        (self.gates / "order").write_text("# a remark\n" + "\n".join(GATES) + "\n")
        self.environment = {**os.environ, "QUALITY_GATES": str(self.gates)}

    def call(self, *words):
        return [self.script, "--logs", self.logs, *words]

    def run(self, *words):
        return subprocess.run(self.call(*words), env=self.environment, cwd="/", capture_output=True, text=True, timeout=60, check=False)


def problems(ran, status, *patterns):
    """What differs from the status and from the patterns, each of which is to be found in what was printed."""
    text = ran.stdout + ran.stderr
    if ran.returncode != status:
        yield f"status {ran.returncode}, not {status}: {text}"
    for pattern in patterns:
        if not re.search(pattern, text, re.MULTILINE):
            yield f"{pattern!r} is not in: {text}"


def check_choices(checks, place):
    ran = place.run("--list")
    checks.check("quality: --list names the gates in their order, and what they are about",
                 [*problems(ran, 0), *([] if [line.split()[0] for line in ran.stdout.splitlines()] == list(GATES) else [ran.stdout]),
                  *problems(ran, 0, "^good +What good is about$")])
    checks.check("quality: --help tells the options and the status", problems(place.run("--help"), 0, "--only", "--report FILE", "73"))
    checks.check("quality: a gate that there is not is a usage error, and nothing runs",
                 [*problems(place.run("--only", "good,odd"), 64, "no gate odd; there are: good bad"),
                  *problems(place.run("--skip", "odd"), 64, "no gate odd"),
                  *([f"{place.logs} holds {list(place.logs.iterdir())}"] if list(place.logs.iterdir()) else [])])
    checks.check("quality: a bad command line is a usage error",
                 [*problems(place.run("--fast"), 64, "unknown option --fast"), *problems(place.run("--only"), 64, "--only needs a value"),
                  *problems(place.run("--only", "good", "--skip", "good"), 64, "no gate is left to run")])
    checks.check("quality: --only and --skip choose", [
        *problems(place.run("--only", "good,bad", "--skip", "bad"), 0, r"\A.*good .*\n1 ok, 0 failed, 0 skipped\n\Z")])


def check_results(checks, place):
    ran = place.run("--only", "good,bad,absent", "--report", str(place.report))
    checks.check("quality: each gate has its line, its time and its result; one that fails makes the status, and is listed",
                 problems(ran, 1, r"^ok +good +\d+\.\d s  looked at 7 things$", r"^failed +bad +\d+\.\d s  status 3: .*/logs/bad\.log$",
                          r"^skipped +absent +\d+\.\d s  no such program$", r"^1 ok, 1 failed, 1 skipped: bad$"))
    checks.check("quality: what a failed gate said is shown, and kept in its log",
                 [*problems(ran, 1, r"^    the \| reason$"),
                  *([] if (place.logs / "bad.log").read_text() == "first\nthe | reason\n" else [(place.logs / "bad.log").read_text()])])
    text = place.report.read_text()
    checks.check("quality: the report is a table in Markdown, also when a gate fails",
                 [f"{pattern!r} is not in: {text}" for pattern in
                  (r"^# Quality of ", r"^\| good \| ok \| \d+\.\d \| looked at 7 things \|$", r"^\| bad \| failed \|", r"^1 ok, 1 failed, 1 skipped: bad$")
                  if not re.search(pattern, text, re.MULTILINE)])
    (place.logs / "table.md").write_text("of yesterday\n")
    ran = place.run("--only", "table,good", "--report", str(place.report))
    text = place.report.read_text()
    checks.check("quality: a gate's own table goes into the report",
                 [*problems(ran, 0), *([] if re.search(r"^## table\n\n\| a \| b \|$", text, re.MULTILINE) else [text])])
    counts = place.report.with_name("counts")
    ran = place.run("--only", "good,bad,absent", "--counts", str(counts))
    checks.check("quality: --counts writes the numbers, for tool/test",
                 [*problems(ran, 1), *([] if counts.read_text() == "1 1 1\n" and "1 ok" not in ran.stdout else [counts.read_text() + ran.stdout])])
    checks.check("quality: counts that cannot be written are said at once, and no draft of a report is left",
                 problems(place.run("--only", "good", "--report", str(place.report), "--counts", "/nowhere/counts"), 73, "cannot write /nowhere/counts"))
    checks.check("quality: a report that cannot be written is said at once",
                 problems(place.run("--only", "good", "--report", "/nowhere/report.md"), 73, "cannot write /nowhere/report.md"))
    checks.check("quality: nothing is left beside the report",
                 [str(path) for path in place.report.parent.iterdir() if path.name.startswith("report.md.")])


def check_interruption(checks, place, number, status):
    """Ended by the signal while a gate runs."""
    started = place.logs / "started"
    started.unlink(missing_ok=True)
    os.mkfifo(started)
    process = subprocess.Popen(place.call("--only", "good,slow", "--report", str(place.report)), env=place.environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    started.read_text()  # returns once the gate has written
    pid = int((place.logs / "pid").read_text())
    grandchild = os.pidfd_open(pid)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    gone = select.select([grandchild], [], [], 0)[0]
    os.close(grandchild)
    name = signal.Signals(number).name
    checks.check(f"quality: {name} ends what runs, and the summary and the report are written all the same", [
        *([] if process.returncode == status else [f"status {process.returncode}: {said}"]),
        *([] if gone else [f"process {pid} still runs"]),
        *([] if re.search(r"^stopped +slow ", said, re.MULTILINE) and "1 ok, 0 failed, 0 skipped; interrupted" in said else [said]),
        *([] if "| slow | stopped |" in place.report.read_text() else [place.report.read_text()])])
    started.unlink()


def check_chaos(checks, root, directory):
    """Where no trial can be run, and where all should be."""
    (directory / "build/tests/modules").mkdir(parents=True)
    (directory / "build/tests/modules/libledger.so").touch()
    for demanded in (False, True):
        ran = subprocess.run([sys.executable, root / "tests/chaos/run", "--build", directory / "build", "--only", "network: slow redis"], capture_output=True,
                             text=True, timeout=60, check=False, env=os.environ | {"PATH": "/nowhere", "CI": "true" if demanded else ""})
        failed = demanded and os.geteuid() == 0
        checks.check("chaos: that all trials are skipped is no success" + (", and a failure where root is to run all" if demanded else ""),
                     problems(ran, 1 if failed else 77, "^0 passed, 0 failed, 1 skipped$", *(["nothing is to be skipped"] if failed else [])))


def main():
    checks = Checks(sys.argv[1:])
    root = Path(checks.arguments[0] if checks.arguments else Path(__file__).resolve().parent.parent)
    with tempfile.TemporaryDirectory() as directory:
        place = Place(root, Path(directory))
        check_choices(checks, place)
        check_results(checks, place)
        check_interruption(checks, place, signal.SIGINT, 130)
        check_interruption(checks, place, signal.SIGTERM, 143)
        check_chaos(checks, root, Path(directory))
    gates = root / "tool/quality/gates"
    order = [line for line in (gates / "order").read_text().splitlines() if not line.startswith("#")]
    checks.check("quality: every gate is in the order, and may be executed",
                 [*(f"{path.name}" for path in gates.iterdir() if path.name != "order" and path.name not in order),
                  *(name for name in order if not os.access(gates / name, os.X_OK))])
    checks.finish()


if __name__ == "__main__":
    main()
