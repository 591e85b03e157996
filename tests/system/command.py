"""Running commands to their end, and no longer."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass


def show(command):
    return command if isinstance(command, str) else " ".join(map(str, command))


@dataclass
class Ran:
    """What became of a command."""

    command: object
    rc: int
    stdout: str
    stderr: str
    seconds: float

    def json(self):
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"no JSON from {show(self.command)}: {error}\n{self.stdout}\n{self.stderr}") from None

    def lines(self):
        return self.stdout.splitlines()


class CommandFailed(AssertionError):
    """A command ended with a status that the test did not allow."""

    def __init__(self, ran):
        self.ran = ran
        text = f"exit status {ran.rc} from: {show(ran.command)}"
        for name, output in (("stdout", ran.stdout), ("stderr", ran.stderr)):
            if output.strip():
                text += f"\n--- {name}\n{output.rstrip()}"
        super().__init__(text)


def execute(command, *, input=None, timeout=60.0, grace=0.0, **popen):
    """Runs a command to its end in a process group of its own; on a time-out, or when the run is stopped, the whole
    group is killed, after `grace` seconds from a SIGTERM if that is more than none."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **popen)
    try:
        stdout, stderr = process.communicate(input, timeout=timeout)
    except BaseException as error:
        kill_group(process, grace)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        text = "".join(part.decode(errors="replace") if isinstance(part, bytes) else part or ""
                       for part in (error.stdout, error.stderr))
        raise AssertionError(f"still running after {timeout} s (or a child keeps its output open): "
                             f"{show(command)}\n{text}") from None
    return Ran(command, process.returncode, stdout, stderr, time.monotonic() - began)


def kill_group(process, grace=0.0):
    try:
        if grace:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                pass
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
