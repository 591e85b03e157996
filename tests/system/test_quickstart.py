"""tool/quickstart, as a person runs it."""

import os
import re
import signal
import subprocess
from pathlib import Path

from box import Skip, allow, execute, wait_until


def environment(stage, tmp):
    """That of the caller, for the build's sake, with a TMPDIR of its own, so that what stays behind is seen, and with
    settings of the caller's own Stem, which are not to count."""
    if not os.access(stage.build, os.W_OK):
        raise Skip(f"the quickstart builds, and may not write to {stage.build}")
    return {**os.environ, "BUILD_DIR": str(stage.build), "TMPDIR": str(tmp), "STEMD_USER": "nobody.of.that.name",
            "STEM_BROKER_URL": "nonsense:", "OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense:",
            "CI": "true" if stage.options()["werror"] else "false"}


def workers(tmp):
    """Processes that were started with this TMPDIR."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(tmp).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:
            pass
    return found


@allow(seconds=240)
def test_it_does_a_thousand_jobs_and_leaves_nothing(stage, tmp):
    ran = execute([stage.source / "tool/quickstart", "--files", "1000"], env=environment(stage, tmp), timeout=220,
                  grace=15, cwd="/")
    assert ran.rc == 0, ran.stdout + ran.stderr
    assert re.search(r"^1000 of 1000 done, in [0-9.]+ s", ran.stdout, re.M), ran.stdout
    assert "1000 succeeded" in ran.stdout and "25 of 25 chosen at random agree with sha256sum" in ran.stdout, ran.stdout
    assert '"status": "ok"' in ran.stdout or '"status":"ok"' in ran.stdout, ran.stdout
    assert list(tmp.iterdir()) == [] and workers(tmp) == []


def interrupted(stage, tmp, line_begins):
    """Runs it, presses Ctrl-C when it has printed a line that begins so; what it said after."""
    process = subprocess.Popen([stage.source / "tool/quickstart", "--files", "100000"], env=environment(stage, tmp),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        for line in process.stdout:
            if re.match(line_begins, line):
                break
        assert workers(tmp), "no worker runs"
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to all of the foreground
        rest = process.stdout.read()
        assert process.wait(60) == 130, rest
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    return rest


@allow(seconds=240)
def test_interrupted_in_the_middle_it_stops_its_workers_and_leaves_nothing(stage, tmp):
    for line_begins in ["A job for each"] * 8 + [r"[0-9]+ of [0-9]+ done"] * 2:  # bash left workers behind in every third of the first
        rest = interrupted(stage, tmp, line_begins)
        assert "Traceback" not in rest and "could not" not in rest, rest
        wait_until(lambda: workers(tmp) == [], what=f"its workers are gone; it said {rest!r}")
        assert list(tmp.iterdir()) == []
