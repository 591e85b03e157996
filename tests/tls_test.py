#!/usr/bin/env python3
"""TLS through the program: the lines of the guide, what is said and warned of, and what loads OpenSSL.

Usage: tests/tls_test.py STEM MODULE SOURCE_DIR    MODULE is tests/modules/effects
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from checks import Checks
from signing_test import Queue, Worker, lines_of


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Redis:
    """A redis-server with TLS that asks for a client's certificate."""

    def __init__(self, directory, assets):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--bind", "127.0.0.1", "--tls-port", str(self.port), "--tls-cert-file", f"{assets}/server.pem",
             "--tls-key-file", f"{assets}/server-key.pem", "--tls-ca-cert-file", f"{assets}/ca.pem", "--save", "", "--dir", directory],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.01)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def jobs(checks, queue, tls):
    with Worker(queue, **tls) as worker:
        done = queue.enqueue("done", "--wait", **tls)
        checks.check("tls: a job goes to a worker and its result comes back through a Redis that asks for a certificate",
                     ([] if done.returncode == 0 and lines_of(queue.ran) == ["done"] else [done.stderr]))
        maps = worker.maps()
    checks.check("tls: that worker has loaded libssl and warns of nothing",
                 ([] if "libssl" in maps else ["it has not"]) + ([worker.log] if "STEM_TLS" in worker.log else []))
    open_ = {name: value for name, value in tls.items() if name != "STEM_TLS_CA_CERT"} | {"STEM_TLS_ALLOW_INSECURE": "true"}
    with Worker(queue, **open_) as worker:
        done = queue.enqueue("open", "--wait", **open_)
    warning = "STEM_TLS_ALLOW_INSECURE is on"
    checks.check("tls: with STEM_TLS_ALLOW_INSECURE=true a job runs without the authority",
                 [] if done.returncode == 0 and "open" in lines_of(queue.ran) else [done.stderr])
    checks.check("tls: and worker and command warn of it, once each",
                 [f"{text!r}" for text in (worker.log, done.stderr) if text.count(warning) != 1])


def refusals(checks, queue, tls):
    def check(name, variables, status, *parts):
        said = queue.run("queues", **variables)
        checks.check(f"tls: {name}: exit status {status}, and one line that says what to do",
                     [] if said.returncode == status and said.stderr.count("\n") == 1 and all(part in said.stderr for part in parts)
                     else [f"{said.returncode}: {said.stderr}"])
        return said

    def without(name):
        return {key: value for key, value in tls.items() if key != name}

    check("a key without its certificate", without("STEM_TLS_CLIENT_CERT"), 78, "STEM_TLS_CLIENT_KEY is set, but STEM_TLS_CLIENT_CERT is not")
    check("a certificate without its key", without("STEM_TLS_CLIENT_KEY"), 78, "STEM_TLS_CLIENT_CERT is set, but STEM_TLS_CLIENT_KEY is not")
    check("a word like `untrue`", tls | {"STEM_TLS_ALLOW_INSECURE": "untrue"}, 78, "STEM_TLS_ALLOW_INSECURE='untrue': must be one of true, 1, yes")
    check("a word like `TRUE`", tls | {"STEM_TLS_ALLOW_INSECURE": "TRUE"}, 78, "STEM_TLS_ALLOW_INSECURE='TRUE'")
    check("no authority", without("STEM_TLS_CA_CERT"), 78, "authority that is not trusted", "STEM_TLS_CA_CERT is not set")
    check("no certificate for the server", {key: tls[key] for key in ("STEM_BROKER_URL", "STEM_TLS_CA_CERT")}, 77, "STEM_TLS_CLIENT_CERT")
    check("an address without TLS", tls | {"STEM_BROKER_URL": tls["STEM_BROKER_URL"].replace("rediss", "redis")}, 78, "rediss://")
    fine = queue.run("queues", **tls | {"STEM_TLS_ALLOW_INSECURE": "no"})
    checks.check("tls: STEM_TLS_ALLOW_INSECURE=no is what it says", [] if fine.returncode == 0 and not fine.stderr else [fine.stderr])


def loading(checks, queue, tls):
    plain = {name: value for name, value in tls.items() if name != "STEM_BROKER_URL"}
    with Worker(queue, **plain | {"STEM_BROKER_URL": "memory://none"}) as worker:
        time.sleep(0.5)  # it has opened its broker by then or it has not: neither is a reason to load anything
        maps = worker.maps()
    checks.check("tls: a worker whose broker has none loads neither libssl nor libcrypto, whatever STEM_TLS_* says",
                 [library for library in ("libssl", "libcrypto") if library in maps])
    for arguments, variables, expected in ((["queues"], tls, True), (["queues"], plain, False), (["--version"], tls, False)):
        said = queue.run(*arguments, **variables, LD_DEBUG="libs").stderr
        checks.check(f"tls: stem {arguments[0]} with {'' if variables is tls else 'SQLite and '}STEM_TLS_* "
                     f"{'loads' if expected else 'does not load'} libssl and libcrypto",
                     [library for library in ("libssl", "libcrypto") if (library in said) != expected])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 3:
        sys.exit(__doc__)
    stem, module, source = checks.arguments
    if not shutil.which("redis-server"):
        checks.skip("redis-server is not installed; tool/setup installs it")
    with tempfile.TemporaryDirectory(prefix="stem-tls-") as directory:
        # The lines of the guide, as they are.
        guide = ("scripts/security/generate_tls_assets.sh --out tmp/tls >&2\n"
                 "export STEM_TLS_CA_CERT=$PWD/tmp/tls/ca.pem\n"
                 "export STEM_TLS_CLIENT_CERT=$PWD/tmp/tls/client.pem\n"
                 "export STEM_TLS_CLIENT_KEY=$PWD/tmp/tls/client-key.pem\n"
                 "exec python3 -c 'import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith(\"STEM_TLS\")}))'\n")
        os.symlink(f"{source}/scripts", f"{directory}/scripts")
        tls = json.loads(subprocess.run(["sh", "-ec", guide], cwd=directory, check=True, capture_output=True, text=True).stdout)
        queue = Queue(stem, module, directory)
        with Redis(directory, f"{directory}/tmp/tls") as redis:
            tls["STEM_BROKER_URL"] = f"rediss://localhost:{redis.port}"
            jobs(checks, queue, tls)
            refusals(checks, queue, tls)
            loading(checks, queue, tls)
    checks.finish()


if __name__ == "__main__":
    main()
