#!/usr/bin/env python3
"""Signed jobs through the program: who refuses what, what is said of it, and what loads OpenSSL.

Usage: tests/signing_test.py STEM MODULE    MODULE is tests/modules/effects
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading

from checks import Checks

SECRET = base64.b64encode(b"thirty-two bytes of a real secret").decode()
OTHER = base64.b64encode(b"thirty-two bytes of another secret").decode()


class Queue:
    """One database, its producers and workers."""

    def __init__(self, stem, module, directory):
        self.stem, self.module = stem, module
        self.base = {name: value for name, value in os.environ.items() if not name.startswith("STEM")}
        self.base |= {"STEM_BROKER_URL": f"sqlite://{directory}/stem.db", "STEM_RUNTIME_DIR": f"{directory}/run"}
        self.ran = f"{directory}/ran"

    def run(self, *arguments, **variables):
        return subprocess.run([self.stem, *arguments], env=self.base | variables, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False, timeout=60)

    def enqueue(self, text, *arguments, **variables):
        return self.run("enqueue", "effect.append", "--args", json.dumps({"file": self.ran, "text": text}), *arguments, **variables)


class Worker:
    """Runs until the block ends; `log` holds what it said by then."""

    def __init__(self, queue, **variables):
        self.process = subprocess.Popen([queue.stem, "worker", "start", "--app", queue.module], env=queue.base | variables,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.reader.join()

    @property
    def log(self):
        return "".join(self.lines)

    def maps(self):
        with open(f"/proc/{self.process.pid}/maps", encoding="utf-8") as file:
            return file.read()


def lines_of(path):
    return open(path, encoding="utf-8").read().split() if os.path.exists(path) else []


def jobs(checks, queue):
    keys = {"STEM_SIGNING_KEYS": f"v1:{SECRET}", "STEM_SIGNING_ACTIVE_KEY": "v1"}
    with Worker(queue, **keys) as worker:
        right = queue.enqueue("right", "--wait", **keys)
        checks.check("signed jobs: one that is rightly signed runs", [] if right.returncode == 0 else [right.stderr])
        unsigned = queue.enqueue("unsigned", "--wait", "--id", "plain")
        wrong = queue.enqueue("wrong", "--wait", **keys | {"STEM_SIGNING_KEYS": f"v1:{OTHER}"})
        checks.check("signed jobs: who waits for one that is not, is told so",
                     [f"{job.returncode}: {job.stdout}{job.stderr}" for job in (unsigned, wrong)
                      if job.returncode != 1 or "signature-invalid" not in job.stdout + job.stderr])
        record = json.loads(queue.run("result", "plain", "--json").stdout or "{}")
        checks.check("signed jobs: the result has the reason",
                     [] if record.get("state") == "failed" and record.get("meta", {}).get("security") == "signature-invalid"
                     and record.get("error", {}).get("message") == "it is not signed" else [str(record)])
        checks.check("signed jobs: only the right one was run", [] if lines_of(queue.ran) == ["right"] else lines_of(queue.ran))
        loaded = "libcrypto" in worker.maps()
    checks.check("signed jobs: the worker's log names the job and the reason, in one line, and no key",
                 ([] if re.search(r"plain.*went to the dead-letter queue: signature-invalid: it is not signed\n", worker.log) else [worker.log])
                 + [secret for secret in (SECRET, OTHER) if secret in worker.log])
    checks.check("signed jobs: a worker that verifies has loaded libcrypto", [] if loaded else ["it has not"])
    with Worker(queue) as worker:
        queue.enqueue("free", "--wait")
        checks.check("signed jobs: a worker without keys has not, and runs what is not signed",
                     (["it has"] if "libcrypto" in worker.maps() else []) + ([] if "free" in lines_of(queue.ran) else ["it did not run"]))


def refusals(checks, queue):
    public = {"STEM_SIGNING_ALGORITHM": "ed25519", "STEM_SIGNING_PUBLIC_KEYS": "v1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="}
    for what, variables, says in (
            ("has the public key only", public, "cannot be signed: STEM_SIGNING_PRIVATE_KEYS is not set"),
            ("has lost its keys", {"STEM_SIGNING_ACTIVE_KEY": "v1"}, "STEM_SIGNING_ACTIVE_KEY is set, but STEM_SIGNING_KEYS"),
            ("has no active key", {"STEM_SIGNING_KEYS": f"v1:{SECRET}"}, "STEM_SIGNING_ACTIVE_KEY is not"),
            ("has a key that is none", {"STEM_SIGNING_KEYS": f"v1:{SECRET[:-1]}", "STEM_SIGNING_ACTIVE_KEY": "v1"}, "entry 1"),
            ("forgot the id", {"STEM_SIGNING_KEYS": SECRET, "STEM_SIGNING_ACTIVE_KEY": "v1"}, "has no colon")):
        refused = queue.enqueue("never", "--queue", "refused", **variables)
        checks.check(f"signed jobs: a producer that {what} enqueues nothing, and says why in one line",
                     [] if refused.returncode == 78 and says in refused.stderr and refused.stderr.count("\n") == 1
                     and SECRET[:8] not in refused.stderr else [f"{refused.returncode}: {refused.stderr}"])
    scheduler = queue.run("scheduler", "start", **public)
    checks.check("signed jobs: a scheduler that could only verify does not start",
                 [] if scheduler.returncode == 78 and "a scheduler signs the jobs" in scheduler.stderr
                 else [f"{scheduler.returncode}: {scheduler.stderr}"])
    queues = json.loads(queue.run("queues", "--json").stdout)
    checks.check("signed jobs: nothing of that is in the queue", [str(queues)] if "refused" in json.dumps(queues) else [])


def loading(checks, queue):
    keys = {"STEM_SIGNING_KEYS": f"v1:{SECRET}", "STEM_SIGNING_ACTIVE_KEY": "v1"}
    watched = {"LD_DEBUG": "libs"}
    for arguments, variables, expected in ((["enqueue", "a"], keys, True), (["enqueue", "a"], {}, False), (["queues"], keys, False),
                                           (["result", "plain"], keys, False), (["--version"], keys, False)):
        loaded = "libcrypto" in queue.run(*arguments, **variables, **watched).stderr
        checks.check(f"signed jobs: stem {arguments[0]} {'with' if variables else 'without'} keys "
                     f"{'loads' if expected else 'does not load'} libcrypto", [] if loaded == expected else ["it is otherwise"])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="stem-signing-") as directory:
        queue = Queue(*checks.arguments, directory)
        jobs(checks, queue)
        refusals(checks, queue)
        loading(checks, queue)
    checks.finish()


if __name__ == "__main__":
    main()
