#!/usr/bin/env python3
"""Checks that no room of src/ includes what is above it, by reading its #include lines: docs/architecture.md.

Usage: tests/layers_test.py [SOURCE_DIR]
"""

import re
import sys
from pathlib import Path

from checks import Checks

# Each room may include itself and those before it.
ROOMS = ["core", "telemetry", "storage", "worker", "scheduler", "service", "supervisor", "diagnosis", "cli"]

# The room that implements a public header. A header may include those of its own room and of earlier ones.
PUBLIC = {
    "canvas.hpp": "core", "config.hpp": "core", "envelope.hpp": "core", "error.hpp": "core", "job.hpp": "core", "json.hpp": "core",
    "rate_limit.hpp": "core", "result.hpp": "core",
    "retry_policy.hpp": "core", "signing.hpp": "core", "time.hpp": "core", "version.hpp": "core",
    "task.hpp": "worker", "module.hpp": "worker", "stem.hpp": "worker",
    "worker.hpp": "service",
}
# The public headers' own sources compose rooms up to this one; what manages other daemons is no part of a job.
PUBLIC_SOURCES = "service"

# Libraries that stay in some rooms: a change of one is a change of these. `None` = where a <stem/…> header needs it.
LIBRARIES = {
    "sdbus-c++/": {"supervisor"},
    "sqlite3.h": {"storage"},
    "yaml-cpp/": {"worker", "cli"},
    "dlfcn.h": {"core", "telemetry", "storage", "worker", "service", "cli"},
    "curl/": {"telemetry"},
    "prometheus/": {"service"},
    "curses.h": {"cli"},
    "openssl/": {"core", "storage"},
    "systemd/": {"service", "supervisor"},
    "CLI/": {"cli"},
    "spdlog/": {"worker", "scheduler", "service", "supervisor", "cli"},
    "nlohmann/": {"include"},  # everyone else: <stem/json.hpp>
    "doctest/": set(),
}

# Names that say nothing of what a file holds.
DRAWERS = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?)(_|$)")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


def includes(path):
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def room_of(path, source):
    return path.relative_to(source).parts[0]


def last_room(path, source):
    """The room up to which a file may look."""
    room = room_of(path, source)
    if room != "include":
        return room
    if path.suffix == ".cpp":
        return PUBLIC_SOURCES
    return PUBLIC.get(path.name.removesuffix(".in"))


def may_include(path, source, wanted):
    """The reason why not, or None."""
    last = last_room(path, source)
    if last is None:
        return "the header has no room yet: add it to PUBLIC"
    head = wanted.split("/")[0]
    if head == "stem":
        owner = PUBLIC.get(wanted.removeprefix("stem/"))
        if owner is None:
            return "no such public header in PUBLIC"
        if ROOMS.index(owner) > ROOMS.index(last):
            return f"it belongs to {owner}, which is above {last}"
    elif head in ROOMS and "/" in wanted:
        if path.suffix != ".cpp" and room_of(path, source) == "include":
            return "public headers include public headers only"
        if ROOMS.index(head) > ROOMS.index(last):
            return f"{head} is above {last}"
        if not (source / wanted).exists() and not (source / f"{wanted}.in").exists():
            return "no such file"
    else:
        for library, rooms in LIBRARIES.items():
            if wanted.startswith(library) and room_of(path, source) not in rooms:
                return f"{library} is for {', '.join(sorted(rooms)) or 'tests'} only"
    return None


def main():
    checks = Checks(sys.argv[1:])
    root = Path(checks.arguments[0] if checks.arguments else Path(__file__).resolve().parent.parent)
    source = root / "src"
    files = sorted(path for path in source.rglob("*") if path.suffixes and path.suffixes[0] in (".hpp", ".cpp", ".h"))
    rooms = sorted({room_of(path, source) for path in files})

    checks.check("layers: there are sources to look at", [] if len(files) > 20 else [f"only {len(files)} in {source}"])
    checks.check("layers: every folder of src/ is a room",
                 [f"src/{room} is not in ROOMS" for room in rooms if room not in ROOMS + ["include"]])
    for room in rooms:
        checks.check(f"layers: {room} includes nothing above it",
                     (f"src/{path.relative_to(source)} includes {wanted}: {reason}"
                      for path in files if room_of(path, source) == room
                      for wanted in includes(path)
                      if (reason := may_include(path, source, wanted))))
    checks.check("layers: no file is a drawer for odds and ends",
                 [f"src/{path.relative_to(source)}: say what it holds" for path in files
                  if DRAWERS.search(path.name.split(".")[0])])
    checks.check("layers: every header guards itself with #pragma once",
                 [f"src/{path.relative_to(source)}" for path in files
                  if path.suffixes[0] == ".hpp" and "#pragma once" not in path.read_text(encoding="utf-8")])
    checks.finish()


if __name__ == "__main__":
    main()
