#!/usr/bin/env python3
"""Checks README.md, CONTRIBUTING.md, docs/ and the pages of tests/: code is that of examples/, commands and options exist, links lead somewhere.

Usage: tests/docs_test.py STEM SOURCE_DIR
"""

import re
import subprocess
import sys
from pathlib import Path

from checks import Checks, difference

# The program that the README shows whole.
README_PROGRAM = "examples/du/du.cpp"


def blocks(text, language):
    """The fenced blocks of a Markdown text in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands_of(block):
    """The commands of a shell block that call stem: continued lines joined, prompts and comments cut off."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        line = re.sub(r"\s#\s.*", "", line)
        for call in re.findall(r"(?:^|[|;&(]|\bsudo )\s*stem ([^|;&)]+)", line):
            yield call


def called_command(words, known):
    for length in range(min(3, len(words)), 0, -1):
        if " ".join(words[:length]) in known:
            return " ".join(words[:length])
    return None


def options_of(stem, command):
    text = subprocess.run([stem, *command.split(), "--help"], capture_output=True, text=True, check=False).stdout
    return {name for names in re.findall(r"^  (-\S+)", text, re.M) for name in names.split(",")}


def bad_calls(stem, known, text):
    for language in ("sh", "console"):
        for block in blocks(text, language):
            if language == "console":  # what was typed, without what was answered
                block = "\n".join(line[2:] for line in block.splitlines() if line.startswith(("$ ", "# ")))
            for call in commands_of(block):
                words = re.sub(r"'[^']*'|\"[^\"]*\"", "quoted", call).split()
                if words and words[0].startswith("-"):
                    continue
                command = called_command(words, known)
                if command is None:
                    yield f"no such command: stem {call}"
                    continue
                offered = options_of(stem, command)
                yield from (f"stem {command} has no {word}" for word in words
                            if word.startswith("-") and word != "-" and word.split("=")[0] not in offered)


def anchors_of(text):
    """What its headings are called in links."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*?)$", prose, re.M)}


def dead_links(page, text):
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", prose):
        if "://" in target:
            continue
        if target and not (page.parent / target).exists():
            yield f"link to {target}"
        elif anchor and anchor not in anchors_of((page.parent / target).read_text(encoding="utf-8") if target else text):
            yield f"link to {target}#{anchor}"


def unpacked(source):
    """Links between pages of which only one is in the package."""
    lines = [line.split() for name in ("stem.docs", "stem.install") for line in (source / "tool/debian" / name).read_text(encoding="utf-8").splitlines()]
    paths = [source / words[0] for words in lines if len(words) == 1 or words[1].startswith("usr/share/doc/")]
    pages = {page.resolve() for path in paths for page in ([path] if path.suffix == ".md" else path.rglob("*.md"))}
    for page in sorted(pages):
        for target in re.findall(r"\]\(([^)#:]+\.md)[)#]", page.read_text(encoding="utf-8")):
            if (page.parent / target).resolve() not in pages:
                yield f"{target}, to which {page.relative_to(source)} links"


def tests_of(source):
    """The names of our tests; those of system tests in words."""
    for path in (source / "tests/unit").glob("*.cpp"):
        for texts in re.findall(r'^[A-Z_]+\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)[),]', path.read_text(encoding="utf-8"), re.M):
            yield "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', texts))
    for path in (source / "tests/system").glob("test_*.py"):
        yield from (name.replace("_", " ") for name in re.findall(r"^def test_(\w+)", path.read_text(encoding="utf-8"), re.M))


def named_tests(page):
    """What stands in the last column of its tables."""
    for line in re.findall(r"^\|.*\|$", page, re.M):
        yield from re.findall(r"`([^`]+)`", line.rstrip("|").rpartition(" |")[2])


def missing_files(source, text):
    """Paths of the source tree that the text names in `code`."""
    for path in set(re.findall(r"(?:\./)?(?<!/usr/)\b((?:tool|examples|tests|docs|man|units|src)/[\w./@-]*[\w/])", text)):
        if not re.search(r"\.(so|sock|pid)$", path) and f"build/{path}" not in text and not any(source.glob(path + "*")):
            yield f"no {path}"


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 2:
        sys.exit(__doc__)
    stem, source = checks.arguments[0], Path(checks.arguments[1])
    overview = subprocess.run([stem, "--help"], capture_output=True, text=True, check=False).stdout
    known = re.findall(r"^  stem (\S+(?: \S+)*?)  ", overview, re.M)
    examples = [path.read_text(encoding="utf-8") for path in sorted((source / "examples").rglob("*.cpp"))]
    pages = [source / "README.md", source / "CONTRIBUTING.md", *sorted((source / "docs").rglob("*.md")),
             *sorted((source / "tests").rglob("*.md"))]

    for page in pages:
        name, text = page.relative_to(source), page.read_text(encoding="utf-8")
        checks.check(f"docs: the code of {name} is in examples/",
                     ["not there: " + block.splitlines()[0] for block in blocks(text, "cpp")
                      if not any(block in example for example in examples)])
        checks.check(f"docs: no block of {name} is indented, and so left unseen by this", re.findall(r"^[ >]+```.*", text, re.M))
        checks.check(f"docs: commands and options in {name} exist", bad_calls(stem, known, text))
        checks.check(f"docs: links in {name} lead to files", dead_links(page, text))
        checks.check(f"docs: files that {name} names exist", missing_files(source, text))

    checks.check("docs: pages of the package link to others of it", unpacked(source.resolve()))

    named = [path for path in source.rglob("*") if path.suffix in (".hpp", ".cpp", ".build", ".py", ".md", ".in", ".catalog")
             and path.relative_to(source).parts[0] in ("src", "tests", "completions", "units", "man", "docs", "sysv")]
    checks.check("docs: pages and tests that the sources name exist",
                 sorted({f"{path.relative_to(source)}: {page}" for path in named
                         for page in re.findall(r"\b(?:docs/[a-z-]+\.md|tests/[a-z_/]+\.(?:py|cpp))", path.read_text(encoding="utf-8"))
                         if not (source / page).exists()}))
    parity = list(named_tests((source / "docs/process/scheduler-parity.md").read_text(encoding="utf-8")))
    checks.check("docs: tests that docs/process/scheduler-parity.md names exist",
                 difference(parity, "the page", tests_of(source), "tests") if len(parity) > 50 else ["it names few"])
    readme = (source / "README.md").read_text(encoding="utf-8")
    program = source / README_PROGRAM
    checks.check(f"docs: README.md holds {README_PROGRAM}, whole",
                 [] if program.exists() and program.read_text(encoding="utf-8") in blocks(readme, "cpp") else ["it does not"])
    shell = "".join(blocks(readme, "sh"))
    programs = re.search(r"^build/\S+", shell, re.M)
    checks.check("docs: what README.md runs of the build has been built on that page, whole",
                 [] if programs and re.search(r"^(\./tool/build|ninja -C build)( |$)", shell[:programs.start()], re.M) else ["it has not"])
    listed = re.findall(r"^\| `stem ([a-z -]+?)(?: [A-Z<\[-].*?)?`", readme, re.M)
    checks.check("docs: the table in README.md has every command", difference(set(listed), "the table", set(known), "stem --help"))
    checks.finish()


if __name__ == "__main__":
    main()
