#!/usr/bin/env python3
"""Reads gcovr's summary and prints how many lines of each folder ran, and the files with the most lines that did not.

Status 1 if less than the target ran. The last line is the sum.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

MOST = 25  # files that are named


def folder_of(name):
    return "/".join(name.split("/")[:2])


def percent(ran, lines):
    return 100 * ran / lines if lines else 100.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", type=Path, metavar="FILE", help="what gcovr --json-summary wrote")
    parser.add_argument("--target", type=float, default=90, metavar="PERCENT")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    options = parser.parse_args()

    files = json.loads(options.summary.read_text())["files"]
    lines, ran = Counter(), Counter()
    for file in files:
        lines[folder_of(file["filename"])] += file["line_total"]
        ran[folder_of(file["filename"])] += file["line_covered"]
    rows = ["| folder | lines | ran | |", "|---|---:|---:|---:|"]
    rows += [f"| {name} | {lines[name]} | {ran[name]} | {percent(ran[name], lines[name]):.1f} % |" for name in sorted(lines)]
    total = percent(ran.total(), lines.total())
    rows.append(f"| all | {lines.total()} | {ran.total()} | {total:.1f} % |")
    if options.markdown:
        options.markdown.write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    print("\nLines that did not run:")
    left = sorted(files, key=lambda file: file["line_covered"] - file["line_total"])
    for file in left[:MOST]:
        print(f"{file['line_total'] - file['line_covered']:5} of {file['line_total']:4}  {file['filename']}")
    print(f"{total:.1f} % of {lines.total()} lines ran; at least {options.target:g} % are asked for")
    return 1 if total < options.target else 0


if __name__ == "__main__":
    sys.exit(main())
