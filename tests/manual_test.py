#!/usr/bin/env python3
"""Checks that the manual pages and the program say the same: commands, options, variables, exit statuses.

Usage: tests/manual_test.py STEM FACTS SOURCE_DIR    FACTS is the program of tests/facts.cpp
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from checks import Checks, difference

# A page may tell of several commands: `stem worker multi start`, `stop` … are all in stem-worker-multi(1).
SHORTENED = {"stem-tasks", "stem-schedule", "stem-dlq", "stem-worker", "stem-routing", "stem-observe"}  # `stem tasks ls`, `stem schedule list`


class Help:
    """What `stem COMMAND --help` says."""

    def __init__(self, text):
        self.text = text
        self.options = {}  # "--queue": "NAME", "" where it takes no value
        self.positionals = set()
        section = ""
        for line in text.splitlines():
            if heading := re.fullmatch(r"(\S[^:]*):", line):
                section = heading.group(1)
            elif option := re.match(r"  (-\S+)(?: (?! )(\S+))?", line):
                for name in option.group(1).split(","):
                    self.options[name] = (option.group(2) or "").split(":")[0]
            elif section == "Positionals" and (word := re.match(r"  (\S+)", line)):
                self.positionals.add(word.group(1))  # upper case for what the user puts there


class Page:
    """An mdoc(7) source."""

    def __init__(self, path):
        self.path = path
        self.sections = {}
        section = None
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(".Sh "):
                section = self.sections.setdefault(line[4:].strip('"'), [])
            elif section is not None:
                section.append(line)

    def words(self, section):
        return [line.split() for line in self.sections.get(section, []) if line.startswith(".")]

    def options(self):
        """Of the list in OPTIONS: "--queue": "NAME"."""
        found = {}
        for words in self.words("OPTIONS"):
            if words[0] != ".It" or "Fl" not in words:
                continue
            for part in " ".join(words[1:]).split(" , "):
                match = re.fullmatch(r"Fl (\S+)(?: Ar (\S+))?", part)
                found[f"-{match.group(1)}" if match else part] = (match.group(2) or "") if match else "?"
        return found

    def synopsis_options(self):
        for words in self.words("SYNOPSIS"):
            yield from (f"-{words[i + 1]}" for i, word in enumerate(words[:-1]) if word.lstrip(".") == "Fl")

    def synopsis_arguments(self):
        for words in self.words("SYNOPSIS"):
            yield from (words[i + 1] for i, word in enumerate(words[:-1]) if word.lstrip(".") == "Ar")

    def exits(self):
        """Of the list in EXIT STATUS: {0: "All is well."}."""
        found, code = {}, None
        for line in self.sections.get("EXIT STATUS", []):
            if line == ".El":
                break
            if item := re.fullmatch(r"\.It (\d+)", line):
                code = int(item.group(1))
                found[code] = ""
            elif code is not None:
                found[code] = f"{found[code]} {line}".strip()
        return found

    def cross_references(self):
        for lines in self.sections.values():
            for line in lines:
                yield from re.findall(r"\bXr (\S+) (\d)", line)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def rendered(path):
    """As plain text, one line a paragraph."""
    text = run("mandoc", "-Tascii", "-Owidth=900", str(path)).stdout
    return re.sub(".\b", "", text)


def page_of(command, pages):
    """The longest prefix of the command that has a page."""
    words = command.split()
    for length in range(len(words), 0, -1):
        name = "-".join(["stem", *words[:length]])
        if name in pages and (length == len(words) or length > 1 or name in SHORTENED):
            return name
    return None


def variables(page):
    """Of VARIABLES in stem.env(5): [(name, default)], in the page's order."""
    text = rendered(page.path)
    section = re.search(r"^VARIABLES\n(.*?)^(?=\S)", text, re.M | re.S).group(1)
    items = re.split(r"^ {5}((?:STEMD?|OTEL)_[A-Z_]+)$", section, flags=re.M)[1:]
    for name, body in zip(items[::2], items[1::2]):
        default = re.search(r"Default: (.*?)\.?\s*$", body, re.M)
        yield name, default.group(1) if default else "?"


def installed(source):
    """What man/meson.build installs."""
    return set(re.findall(r"'([^']+\.[1-9])'", (source / "man/meson.build").read_text(encoding="utf-8")))


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 3:
        sys.exit(__doc__)
    stem, facts_program, source = checks.arguments[0], checks.arguments[1], Path(checks.arguments[2])
    if not shutil.which("mandoc"):
        checks.skip("mandoc is not installed; apt-get install mandoc")

    facts = json.loads(run(facts_program).stdout)
    paths = sorted(path for path in (source / "man").iterdir() if re.fullmatch(r".*\.[1-9]", path.name))
    pages = {path.name.rpartition(".")[0]: Page(path) for path in paths}
    overview = run(stem, "--help").stdout
    commands = re.findall(r"^  stem (\S+(?: \S+)*?)  ", overview, re.M)
    helps = {command: Help(run(stem, *command.split(), "--help").stdout) for command in commands}

    for path in paths:
        lint = run("mandoc", "-Tlint", "-Wwarning", str(path))
        checks.check(f"manual: {path.name} is clean under mandoc -Tlint -Wwarning",
                     (lint.stdout + lint.stderr).splitlines() + [f"status {lint.returncode}"] * bool(lint.returncode))
        page = pages[path.name.rpartition(".")[0]]
        checks.check(f"manual: {path.name} refers to pages that exist",
                     [f"{name}({section})" for name, section in page.cross_references()
                      if name.startswith("stem") and not (source / f"man/{name}.{section}").exists()])
        checks.check(f"manual: {path.name} has a name, a synopsis or a description",
                     [f"no section {name}" for name in ["NAME", "DESCRIPTION"] if name not in page.sections])
        checks.check(f"manual: {path.name} lists known exit statuses only",
                     [str(code) for code in page.exits() if code not in dict(facts["exits"])])
    checks.check("manual: every page is installed",
                 difference({path.name for path in paths}, "man/", installed(source), "man/meson.build"))

    checks.check("manual: stem --help lists commands", [] if commands else ["none"])
    checks.check("manual: pages that stem --help names exist",
                 [name for name in re.findall(r"man (stem[\w.@-]*[\w])", overview) if name not in pages])
    told = {page_of(command, pages) for command in commands} - {None}
    checks.check("manual: every command has a page",
                 [f"stem {command}" for command in commands if not page_of(command, pages)])
    checks.check("manual: every page of a command has its command",
                 [f"{name}(1)" for name in pages
                  if name.startswith("stem-") and pages[name].path.suffix == ".1" and name not in told])
    checks.check("manual: stem.1 lists every page of a command",
                 difference({words[2] for words in pages["stem"].words("DESCRIPTION") if words[:2] == [".It", "Xr"]},
                            "the list", told, "the commands"))

    for name in sorted(told):
        page, served = pages[name], [command for command in commands if page_of(command, pages) == name]
        options = {}
        for command in served:
            options.update(helps[command].options)
        checks.check(f"manual: {name}.1 has the options of `stem {served[0]} --help`, and their arguments",
                     difference({f"{option} {value}".strip() for option, value in page.options().items()}, "the page",
                                {f"{option} {value}".strip() for option, value in options.items()}, "the help"))
        checks.check(f"manual: the synopsis of {name}.1 has known options only",
                     [option for option in page.synopsis_options() if option not in options])
        checks.check(f"manual: the synopsis of {name}.1 has every argument",
                     [word for command in served for word in helps[command].positionals
                      if word.isupper() and word not in page.synopsis_arguments()])
        checks.check(f"manual: {name}.1 lists exit statuses", [] if page.exits() else ["none"])

    listed = list(variables(pages["stem.env"]))
    table = [(row["name"], row["default"]) for row in facts["settings"]]
    checks.check("manual: stem.env.5 has exactly the variables that Stem reads",
                 difference([name for name, _ in listed], "the page", [name for name, _ in table], "settings()"))
    checks.check("manual: stem.env.5 lists no variable twice",
                 {name for name, _ in listed if [other for other, _ in listed].count(name) > 1})
    defaults = dict(table)
    checks.check("manual: stem.env.5 has the defaults",
                 [f"{name}: the page says '{default}', the program '{defaults.get(name)}'" for name, default in listed
                  if not default.startswith(defaults.get(name) or "none")])

    exits = {code: text[0].upper() + text[1:] + "." for code, text in facts["exits"]}
    checks.check("manual: stem.1 has the exit statuses and their meaning",
                 difference([f"{code}: {text}" for code, text in pages["stem"].exits().items()], "the page",
                            [f"{code}: {text}" for code, text in exits.items()], "describe()"))
    footer = re.search(r"Exit status: (.*?)\.", overview, re.S)
    checks.check("manual: stem --help has the exit statuses",
                 difference([int(code) for code in re.findall(r"\b(\d+)\b", footer.group(1) if footer else "")], "the help",
                            exits, "describe()"))
    checks.finish()


if __name__ == "__main__":
    main()
