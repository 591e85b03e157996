"""Counts named checks of a test script, prints one line for each, and a closing line that tests/tally understands."""

import fnmatch
import sys
import time

PATIENCE = 60  # that nothing uses up where all is well


class Checks:
    def __init__(self, arguments):
        """`--test-case=PATTERN`, which tool/test hands to every test, leaves out the checks it does not match."""
        self.patterns = [a.split("=", 1)[1] for a in arguments if a.startswith("--test-case=")]
        self.arguments = [a for a in arguments if not a.startswith("--test-case=")]
        self.passed = self.failed = 0

    def wanted(self, name):
        return not self.patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)

    def check(self, name, problems):
        """Passed if `problems`, an iterable of sentences, is empty."""
        if not self.wanted(name):
            return
        problems = list(problems)
        if problems:
            self.failed += 1
            print(f"not ok: {name}")
            for problem in problems:
                print(f"    {problem}")
        else:
            self.passed += 1
            print(f"ok: {name}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped")
        sys.exit(1 if self.failed else 0)

    @staticmethod
    def skip(reason):
        """Ends the script; meson reads status 77 as skipped."""
        print(f"skipped: {reason}")
        sys.exit(77)


def until(condition, patience=PATIENCE):
    """What `condition` returns once it is true, or its last answer."""
    end = time.monotonic() + patience
    while True:
        answer = condition()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.05)


def difference(left, left_name, right, right_name):
    """What one set has and the other lacks, as sentences."""
    yield from (f"{item} is in {left_name}, not in {right_name}" for item in sorted(set(left) - set(right)))
    yield from (f"{item} is in {right_name}, not in {left_name}" for item in sorted(set(right) - set(left)))
