#!/usr/bin/env python3
"""Checks what a package installs beside the program: message catalog, stem.env, drop-ins, completions.

Usage: tests/packaging_test.py STEM FACTS SOURCE_DIR    FACTS is the program of tests/facts.cpp
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Checks, difference

# What a completion script of zsh needs of the shell around it, in a shell without a terminal.
ZSH = r"""
_describe() {
  local -a list; local name
  [[ $1 == -o ]] && shift
  name=$2; list=("${(@P)name}")
  print -rl -- "${(@)list%%:*}"
}
_files() { }
words=("${(@)argv}"); CURRENT=$#words
source "$COMPLETION"
"""
BASH = r"""
source "$COMPLETION"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_stem
printf '%s\n' "${COMPREPLY[@]}"
"""


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)


def catalog(checks, source):
    text = (source / "units/stem.catalog").read_text(encoding="utf-8")
    entries = {}
    for part in re.split(r"^-- ", text, flags=re.M)[1:]:
        identity, _, body = part.partition("\n")
        head, _, words = body.partition("\n\n")
        entries[identity] = (dict(line.split(": ", 1) for line in head.splitlines()), words.strip())
    names = dict(re.findall(r"const char\* (\w+) = \"([0-9a-f]{32})\"", (source / "src/core/log_event.hpp").read_text(encoding="utf-8")))
    checks.check("packaging: every MESSAGE_ID of the source is in the catalog, and no other",
                 difference(names.values(), "log_event.hpp", entries, "stem.catalog") if len(names) >= 5 else ["too few"])
    code = "".join(path.read_text(encoding="utf-8") for path in (source / "src").rglob("*.cpp"))
    checks.check("packaging: every MESSAGE_ID is logged somewhere", [name for name in names if f"LogEvent::{name}" not in code])
    checks.check("packaging: no MESSAGE_ID is logged that has no name",
                 re.findall(r"MESSAGE_ID=[0-9a-f]{8}", code))
    checks.check("packaging: every entry of the catalog has a subject, an origin, a reference and an explanation",
                 [f"{identity}: {heads}" for identity, (heads, words) in entries.items()
                  if not {"Subject", "Defined-By", "Support"} <= set(heads) or len(words) < 80 or "\n-- " in words])
    checks.check("packaging: pages that the catalog names exist",
                 [name for heads, _ in entries.values() for reference in heads.values() if reference.startswith("man:")
                  for name, section in [re.fullmatch(r"man:(.+)\((\d)\)", reference).groups()]
                  if not (source / f"man/{name}.{section}").exists()])
    if not shutil.which("journalctl"):
        return
    with tempfile.TemporaryDirectory() as root:
        place = Path(root, "usr/lib/systemd/catalog")
        place.mkdir(parents=True)
        Path(root, "var/lib/systemd/catalog").mkdir(parents=True)
        shutil.copy(source / "units/stem.catalog", place)
        ran = run("journalctl", f"--root={root}", "--update-catalog")
        listed = run("journalctl", f"--root={root}", "--list-catalog").stdout
        checks.check("packaging: journalctl compiles the catalog, and finds every entry in it",
                     (ran.stdout + ran.stderr).splitlines() + [identity for identity in entries if identity not in listed])


def env_file(checks, facts, stem, source):
    path = source / "units/stem.env"
    text = path.read_text(encoding="utf-8")
    offered = dict(re.findall(r"^#(STEMD?_\w+)=(.*)$", text, re.M))
    known = {row["name"]: row["default"] for row in facts["settings"]}
    checks.check("packaging: stem.env sets nothing until somebody says so",
                 [line for line in text.splitlines() if line and not line.startswith("#")])
    checks.check("packaging: stem.env offers variables that exist", set(offered) - set(known) if len(offered) > 10 else ["too few"])
    # The others are examples; where a default is words, such as one for each processor, there is no value to compare.
    plain = {name: value for name, value in offered.items() if re.fullmatch(r"\d+(\.\d+)?[smhd]?|info|default", known.get(name) or "")}
    checks.check("packaging: what stem.env shows are the defaults",
                 [f"{name}={value}, but {known[name]}" for name, value in plain.items() if value != known[name]]
                 if len(plain) > 6 else ["too few"])
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "all.env")
        file.write_text(re.sub(r"^#(STEMD?_\w+=)", r"\1", text, flags=re.M))
        ran = run(stem, "queues", "--env-file", str(file), env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")})
        checks.check("packaging: everything that stem.env shows is accepted", ["status 78", ran.stderr] if ran.returncode == 78 else [])


def examples(checks, source):
    files = {path.name for path in (source / "units/examples").iterdir()}
    installed = set(re.findall(r"'examples/([\w.-]+)'", (source / "units/meson.build").read_text(encoding="utf-8")))
    checks.check("packaging: every drop-in example is installed", difference(files, "units/examples", installed, "units/meson.build"))


def completions(checks, stem, source):
    overview = run(stem, "--help").stdout
    commands = re.findall(r"^  stem (\S+(?: \S+)*?)  ", overview, re.M)
    options = {}
    for command in commands:
        text = run(stem, *command.split(), "--help").stdout
        options[command] = {name for names in re.findall(r"^  (-\S+)", text, re.M) for name in names.split(",")}
    path = f"{Path(stem).resolve().parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as home:
        env = {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
               "STEM_RUNTIME_DIR": home, "STEM_SUPERVISOR": "start-stop-daemon", "XDG_RUNTIME_DIR": home}

        def bash(*words):
            return run("bash", "--norc", "-c", BASH, "bash", *words, env={**env, "COMPLETION": str(source / "completions/stem.bash")})

        def zsh(*words):
            return run("zsh", "-f", "-c", ZSH, "zsh", *words, env={**env, "COMPLETION": str(source / "completions/_stem")})

        def fish(*words):
            ran = run("fish", "--no-config", "-c", f"source {source / 'completions/stem.fish'}; complete -C '{' '.join(words)}'", env=env)
            ran.stdout = "".join(line.split("\t")[0] + "\n" for line in ran.stdout.splitlines())
            return ran

        for shell, complete in (("bash", bash), ("zsh", zsh), ("fish", fish)):
            if not shutil.which(shell):
                print(f"# {shell} is not installed: its completion is not looked at")
                continue
            problems = []

            def offers(expected, *words):
                ran = complete("stem", *words)
                problems.extend(ran.stderr.splitlines())
                problems.extend(difference(set(ran.stdout.split()), f"{shell}: {words}", set(expected), "--help"))

            offers({command.split()[0] for command in commands} | {"--help", "--version"}, "")
            for group in {command.split()[0] for command in commands if " " in command}:
                offers({command.split()[1] for command in commands if command.startswith(group + " ")}, group, "")
            for command in commands:
                # fish offers short options only after one dash, so both are asked for.
                if shell == "fish":
                    offers({option for option in options[command] if option.startswith("--")}, *command.split(), "--")
                else:
                    offers(options[command], *command.split(), "-")
            ran = complete("stem", "worker", "multi", "st")
            actions = {word for word in ran.stdout.split() if word.startswith("st")}
            problems.extend([f"actions: {ran.stdout}{ran.stderr}"] if not {"start", "stop", "status"} <= actions else [])
            checks.check(f"packaging: {shell} completes every command and option", problems)


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 3:
        sys.exit(__doc__)
    stem, facts, source = checks.arguments[0], json.loads(run(checks.arguments[1]).stdout), Path(checks.arguments[2])
    catalog(checks, source)
    env_file(checks, facts, stem, source)
    examples(checks, source)
    completions(checks, stem, source)
    checks.finish()


if __name__ == "__main__":
    main()
