"""What is wrong with the machine itself: a disk that is full, a clock that is stepped, processes that nobody ends."""

import ctypes
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

from kernel import Unavailable, mount, private_mounts  # noqa: F401

PR_SET_CHILD_SUBREAPER = 36


class SmallDisk:
    """A tmpfs of so many MiB at `path`, in the mount namespace of this process. Unavailable where that is not allowed."""

    def __init__(self, path, mebibytes):
        if os.geteuid() != 0:
            raise Unavailable("a small disk takes root")
        self.path = Path(path)
        self.path.mkdir()
        private_mounts()
        mount("small", self.path, "tmpfs", 0, f"size={mebibytes}m,mode=0755")

    def fill(self):
        """To the last byte."""
        with open(self.path / "ballast", "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self):
        os.unlink(self.path / "ballast")

    def close(self):
        subprocess.run(["umount", "-l", self.path], check=False)


class Clock:
    """CLOCK_REALTIME of the processes that are started with `env`: see tests/modules/stepped_clock.cpp."""

    def __init__(self, build, path):
        self.path = Path(path)
        self.path.write_bytes(struct.pack("=q", 0))
        self.env = {"LD_PRELOAD": str(Path(build) / "tests/modules/libstepped_clock.so"), "STEPPED_CLOCK": str(self.path)}

    def set(self, seconds):
        with open(self.path, "r+b", buffering=0) as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))


class Stalls(threading.Thread):
    """Notices when this machine has no time for us: then leases end though nobody is at fault. `seen`: from and to, CLOCK_MONOTONIC."""

    LONG = 1.0  # seconds

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self._over = [], threading.Event()
        self.start()

    def run(self):
        last = time.monotonic()
        while not self._over.wait(0.05):
            now = time.monotonic()
            if now - last > self.LONG:
                self.seen.append((last, now))
            last = now

    def close(self):
        self._over.set()
        self.join()


def adopt_orphans():
    """Whoever loses its parent becomes a child of this process, so that none escapes."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children():
    """Pids and names of the children of this process that are not dead."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in contents(task / "children").split():  # a thread may have ended
            stat = contents(f"/proc/{pid}/stat")
            if not stat:
                continue
            name, _, rest = stat[stat.index("(") + 1:].rpartition(") ")
            if rest[0] not in "ZX":
                found[int(pid)] = name
    return found


def contents(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def end_orphans(known, within=5):
    """Children that are not `known` and do not end by themselves within so many seconds: their names. They are killed."""
    end = time.monotonic() + within
    while orphans := {pid: name for pid, name in children().items() if pid not in known}:
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    for pid in orphans:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for pid in orphans:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
    return sorted(orphans.values())
