#!/usr/bin/env python3
"""Checks the scripts of the tree: shells with shellcheck, Python by compiling it.

Usage: tests/scripts_test.py SOURCE_DIR
"""

import shutil
import subprocess
import sys
from pathlib import Path

from checks import Checks

SHELLS = ("sh", "bash", "dash")


def interpreter(path):
    """`bash` of `#!/bin/bash` and `#!/usr/bin/env bash`; empty for what is no script."""
    with path.open("rb") as file:
        first = file.readline(200)
    if not first.startswith(b"#!"):
        return ""
    return first[2:].decode(errors="replace").split()[-1].rsplit("/", 1)[-1]


def main():
    checks = Checks(sys.argv[1:])
    root = Path(checks.arguments[0] if checks.arguments else Path(__file__).resolve().parent.parent)
    folders = [root / name for name in (".ci", "completions", "docs", "examples", "scripts", "sysv", "tests", "tool", "units")]
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*")
                   if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts)
    scripts = {path: interpreter(path) for path in files}
    shell = [path for path, name in scripts.items() if name in SHELLS or path.suffix == ".bash"]
    python = [path for path, name in scripts.items() if name == "python3" or path.suffix == ".py"]

    checks.check("scripts: there are scripts to look at",
                 [] if len(shell) >= 5 and len(python) >= 5 else [f"{len(shell)} of shells, {len(python)} in Python"])
    checks.check("scripts: what has an interpreter may be executed, or is imported",
                 [f"{path.relative_to(root)}: chmod +x" for path, name in scripts.items()
                  if name and path.suffix not in (".py", ".in") and not path.stat().st_mode & 0o111])

    def compile_errors():
        for path in python:
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                yield f"{path.relative_to(root)}:{error.lineno}: {error.msg}"

    checks.check("scripts: Python compiles", compile_errors())
    if not shutil.which("shellcheck"):
        checks.skip("shellcheck is not installed")
    ran = subprocess.run(["shellcheck", "--format=gcc", *map(str, shell)], capture_output=True, text=True, check=False)
    checks.check("scripts: shellcheck has nothing to say", ran.stdout.splitlines() + ran.stderr.splitlines())
    checks.finish()


if __name__ == "__main__":
    main()
