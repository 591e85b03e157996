"""What has really happened: the lines that tests/modules/ledger.cpp appends, one for each effect."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Effect:
    job: str
    number: int
    pid: int
    attempt: int
    at: float  # seconds, CLOCK_MONOTONIC


class Ledger:
    """Follows the file as it grows. For one thread at a time but `distinct` and `lines`, which anybody may read."""

    def __init__(self, path, told=None):
        """`told`: how workers call it, where they see other paths than we do."""
        self.path, self.told = Path(path), told or path
        self.effects = defaultdict(list)  # by job, in the order of the file
        self.distinct = self.lines = 0
        self._read, self._rest = 0, ""

    def follow(self):
        try:
            with open(self.path, encoding="ascii") as file:
                file.seek(self._read)
                text = file.read()
                self._read = file.tell()
        except FileNotFoundError:
            return self
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            job, number, pid, attempt, nanoseconds = line.split(" ")
            self.effects[job].append(Effect(job, int(number), int(pid), int(attempt), int(nanoseconds) / 1e9))
        self.lines += len(lines)
        self.distinct = len(self.effects)
        return self

    def torn(self):
        return self._rest

    def empty(self):
        if self.path.exists():
            os.unlink(self.path)
