#!/usr/bin/env python3
"""examples/words as docs/canvas.md tells of it, and the options of stem enqueue that docs/task-options.md tells of.

Usage: tests/words_test.py STEM WORDS
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from checks import Checks


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 2:
        sys.exit(__doc__)
    stem, words = checks.arguments
    with tempfile.TemporaryDirectory(prefix="stem-words-") as directory:
        env = {name: value for name, value in os.environ.items() if not name.startswith("STEM")} | {
            "STEM_BROKER_URL": f"sqlite://{directory}/stem.db", "STEM_RUNTIME_DIR": f"{directory}/run", "STEM_RETRY_BASE": "1ms"}

        def run(*command):
            return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90)

        def expect(what, got, status, *parts):
            said = got.stdout + got.stderr
            checks.check(what, [] if got.returncode == status and all(part in said for part in parts) else [f"{got.returncode}: {said}"])

        files = []
        for number, text in enumerate(("one two three", "four", "five sixteen seven eight")):
            files.append(f"{directory}/{number}.txt")
            with open(files[-1], "w", encoding="utf-8") as file:
                file.write(text)
        path = json.dumps({"path": files[0]})

        # Before there is a worker.
        late = run(stem, "enqueue", "words.count", "--args", path, "--expires", "1ms").stdout.strip()
        first = run(stem, "enqueue", "words.count", "--args", path, "--unique-for", "1h")
        again = run(stem, "enqueue", "words.count", "--args", path, "--unique-for", "1h", "--json")
        expect("enqueue: the second of a unique key is told the id of the first", again, 0, '"duplicate":true', first.stdout.strip())
        plain = run(stem, "enqueue", "words.count", "--args", path, "--unique-for", "1h")
        expect("enqueue: who reads is told so, too", plain, 0, "not enqueued: job " + first.stdout.strip())
        other = run(stem, "enqueue", "words.count", "--args", path, "--unique-for", "1h", "--unique-key", "mine", "--unique-until", "window", "--json")
        expect("enqueue: another key is another job", other, 0, '"duplicate":false')
        brief = run(stem, "enqueue", "words.count", "--args", path, "--result-ttl", "300ms").stdout.strip()
        mute = run(stem, "enqueue", "words.count", "--args", path, "--ignore-result").stdout.strip()
        retried = run(stem, "enqueue", "words.count", "--args", '{"path": "/nowhere"}', "--max-retries", "2", "--retry-base", "1ms",
                      "--retry-cap", "2ms", "--retry-factor", "1").stdout.strip()
        expect("enqueue: --wait goes with no --ignore-result", run(stem, "enqueue", "t", "--wait", "--ignore-result"), 64, "--ignore-result")
        expect("enqueue: --unique-key takes --unique-for", run(stem, "enqueue", "t", "--unique-key", "k"), 64, "--unique-for")
        expect("enqueue: a time that is over is refused", run(stem, "enqueue", "t", "--expires-at", "2020-01-01T00:00:00Z"), 64, "before it may begin")
        for option in ("--unique-for", "--expires", "--result-ttl", "--retry-base", "--retry-cap"):
            expect(f"enqueue: {option} is above 0", run(stem, "enqueue", "t", option, "0s"), 64, option, "must be at least 1ms")
        expect("enqueue: a policy that cannot be is refused", run(stem, "enqueue", "t", "--retry-base", "9s", "--retry-cap", "1s"), 64, "retry cap")

        worker = subprocess.Popen([words, "worker"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            expect("words: a chord adds up what its members counted", run(words, "count", *files), 0, "8\n")
            expect("words: a chain's links follow one another", run(words, "longest", files[2]), 0, '"SIXTEEN"')
            expect("words: a chord with a failed member says why", run(words, "count", files[0], "/nowhere"), 1,
                   "1 of the 2 members of", "cannot read /nowhere")
            expect("enqueue: a job that is too late is cancelled", run(stem, "result", late, "--wait"), 1, "cancelled", "TaskExpired: it was to begin by")
            expect("enqueue: the first of a unique key is run", run(stem, "result", first.stdout.strip(), "--wait"), 0, "3")
            expect("enqueue: retries of a job's own", run(stem, "result", retried, "--wait"), 1, "after 3 attempts")
            deadline = time.monotonic() + 60
            while run(stem, "result", brief).returncode != 66 and time.monotonic() < deadline:
                time.sleep(0.1)
            expect("enqueue: a record lives as long as was asked for", run(stem, "result", brief), 66, "no job " + brief)
            expect("enqueue: no record of what is ignored", run(stem, "result", mute), 66, "no job " + mute)
        finally:
            worker.terminate()
            worker.wait(60)
    checks.finish()


if __name__ == "__main__":
    main()
