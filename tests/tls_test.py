#!/usr/bin/env python3
"""TLS through the program: the lines of the guide, what is said and warned of, and what loads OpenSSL.

Usage: tests/tls_test.py STEM MODULE SOURCE_DIR    MODULE is tests/modules/effects
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from checks import Checks
from postgres_test import Server
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


class Postgres(Server):
    """A PostgreSQL with TLS that lets in who has a client's certificate."""

    def __init__(self, directory, assets):
        os.mkdir(f"{directory}/pg")
        super().__init__(f"{directory}/pg", port=free_port(),
                         settings=["listen_addresses=127.0.0.1", "ssl=on", "ssl_ca_file=ca.pem"],
                         rules="hostssl all all all cert clientcert=verify-full map=workers",
                         files={"server.crt": content_of(f"{assets}/server.pem"), "server.key": content_of(f"{assets}/server-key.pem"),
                                "ca.pem": content_of(f"{assets}/ca.pem"), "pg_ident.conf": "workers stem-client app\n"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)


def content_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def guide_of(source):
    """The lines of docs/tls.md up to those that start a server, and what prints the variables that they set."""
    page = content_of(f"{source}/docs/tls.md")
    lines = re.search(r"^```sh\n(scripts/security/.*?)^```$", page, re.M | re.S)[1]
    return (lines.partition("redis-server")[0].replace("--out tmp/tls\n", "--out tmp/tls >&2\n") +
            "exec python3 -c 'import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith(\"STEM_TLS\")}))'\n")


def jobs(checks, server, queue, tls):
    if os.path.exists(queue.ran):
        os.unlink(queue.ran)
    with Worker(queue, **tls) as worker:
        done = queue.enqueue("done", "--wait", **tls)
        checks.check(f"tls: a job goes to a worker and its result comes back through a {server} that asks for a certificate",
                     ([] if done.returncode == 0 and lines_of(queue.ran) == ["done"] else [done.stderr]))
        maps = worker.maps()
    checks.check(f"tls: that worker has loaded libssl and warns of nothing: {server}",
                 ([] if "libssl" in maps else ["it has not"]) + ([worker.log] if "STEM_TLS" in worker.log else []))
    open_ = {name: value for name, value in tls.items() if name != "STEM_TLS_CA_CERT"} | {"STEM_TLS_ALLOW_INSECURE": "true"}
    with Worker(queue, **open_) as worker:
        done = queue.enqueue("open", "--wait", **open_)
    warning = "STEM_TLS_ALLOW_INSECURE is on"
    checks.check(f"tls: with STEM_TLS_ALLOW_INSECURE=true a job runs without the authority: {server}",
                 [] if done.returncode == 0 and "open" in lines_of(queue.ran) else [done.stderr])
    checks.check(f"tls: and worker and command warn of it, once each: {server}",
                 [f"{text!r}" for text in (worker.log, done.stderr) if text.count(warning) != 1])


def refusals(checks, server, queue, tls, clear):
    def check(name, variables, status, *parts):
        said = queue.run("queues", **variables)
        checks.check(f"tls: {server}: {name}: exit status {status}, and one line that says what to do",
                     [] if said.returncode == status and said.stderr.count("\n") == 1 and all(part in said.stderr for part in parts)
                     else [f"{said.returncode}: {said.stderr}"])
        return said

    def without(name):
        return {key: value for key, value in tls.items() if key != name}

    check("a key without its certificate", without("STEM_TLS_CLIENT_CERT"), 78, "STEM_TLS_CLIENT_KEY is set, but STEM_TLS_CLIENT_CERT is not")
    check("a certificate without its key", without("STEM_TLS_CLIENT_KEY"), 78, "STEM_TLS_CLIENT_CERT is set, but STEM_TLS_CLIENT_KEY is not")
    check("a file that is not there", tls | {"STEM_TLS_CA_CERT": "/nowhere"}, 66, "STEM_TLS_CA_CERT (/nowhere) cannot be read")
    check("a word like `untrue`", tls | {"STEM_TLS_ALLOW_INSECURE": "untrue"}, 78, "STEM_TLS_ALLOW_INSECURE='untrue': must be one of true, 1, yes")
    check("a word like `TRUE`", tls | {"STEM_TLS_ALLOW_INSECURE": "TRUE"}, 78, "STEM_TLS_ALLOW_INSECURE='TRUE'")
    check("no authority", without("STEM_TLS_CA_CERT"), 78, "authority that is not trusted", "STEM_TLS_CA_CERT is not set")
    check("no certificate for the server", {key: tls[key] for key in ("STEM_BROKER_URL", "STEM_TLS_CA_CERT")}, 77, "STEM_TLS_CLIENT_CERT")
    address, status, says = clear
    check("an address without TLS", tls | {"STEM_BROKER_URL": address}, status, says)
    fine = queue.run("queues", **tls | {"STEM_TLS_ALLOW_INSECURE": "no"})
    checks.check(f"tls: STEM_TLS_ALLOW_INSECURE=no is what it says: {server}", [] if fine.returncode == 0 and not fine.stderr else [fine.stderr])


def looks(checks, server, queue, tls):
    def lines(**variables):
        health = json.loads(queue.run("health", "--json", **variables).stdout or "[]")
        diagnosis = json.loads(queue.run("worker", "diagnose", "--node", "w", "--json", **variables).stdout or "{}")
        return {one["component"]: one for one in health}.get("tls", {}), [one for one in diagnosis.get("checks", []) if one.get("id") == "tls"]

    seen, check = lines(**tls)
    checks.check(f"tls: stem health and stem worker diagnose tell version, host and end of the certificate: {server}",
                 [] if seen.get("status") == "ok" and "TLSv1.3" in seen["message"] and "is for localhost, " in seen["message"]
                 and "ours until 20" in seen["message"] and "TLSv1.3" in json.dumps(check) else [f"{seen} {check}"])
    ending = tls | {"STEM_TLS_CA_CERT": f"{os.path.dirname(tls['STEM_TLS_CA_CERT'])}/none.pem"}
    seen, check = lines(**ending)
    checks.check(f"tls: and what is wrong, with its fix: {server}",
                 [] if seen.get("status") == "error" and "STEM_TLS_CA_CERT" in seen["message"] and seen["context"]["hints"]
                 and "none.pem) cannot be read" in json.dumps(check) else [f"{seen} {check}"])


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
    if not shutil.which("redis-server") or not os.path.exists(Server.program("initdb")):
        checks.skip("Redis or PostgreSQL is not installed; tool/setup installs them")
    with tempfile.TemporaryDirectory(prefix="stem-tls-") as directory:
        os.chmod(directory, 0o755)  # PostgreSQL is another user's
        os.symlink(f"{source}/scripts", f"{directory}/scripts")
        tls = json.loads(subprocess.run(["sh", "-ec", guide_of(source)], cwd=directory, check=True, capture_output=True, text=True).stdout)
        checks.check("tls: the lines of the guide set the variables", [] if len(tls) == 3 else [str(tls)])
        queue = Queue(stem, module, directory)
        with Redis(directory, f"{directory}/tmp/tls") as redis:
            here = tls | {"STEM_BROKER_URL": f"rediss://localhost:{redis.port}"}
            jobs(checks, "Redis", queue, here)
            refusals(checks, "Redis", queue, here, (f"redis://localhost:{redis.port}", 78, "rediss://"))
            looks(checks, "Redis", queue, here)
            loading(checks, queue, here)
        with Postgres(directory, f"{directory}/tmp/tls") as postgres:
            here = tls | {"STEM_BROKER_URL": f"postgresql://app@localhost:{postgres.port}/jobs"}
            jobs(checks, "PostgreSQL", queue, here)
            refusals(checks, "PostgreSQL", queue, here, (f"{here['STEM_BROKER_URL']}?sslmode=disable", 77, "sslmode=verify-full"))
            looks(checks, "PostgreSQL", queue, here)
    checks.finish()


if __name__ == "__main__":
    main()
