#!/usr/bin/env python3
"""Four hosts on one network, in namespaces of their own: a Redis with TLS, a producer, and two workers that run signed jobs
only. One worker is cut off from the network and comes back.

Usage: tests/hosts_test.py STEM MODULE SOURCE_DIR    MODULE is tests/modules/effects. Takes root.
"""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from checks import Checks

BROKER = "10.77.0.1"
PORT = 6380
LIMIT = 400  # seconds, for everything that is left behind if this script is killed


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return value


class Host:
    """A network namespace that ends with this object."""

    def __init__(self, name):
        self.name, self.children = name, []
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", str(LIMIT)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        here = os.readlink("/proc/self/ns/net")

        def entered():
            if self.holder.poll() is not None:
                raise OSError("a network namespace cannot be made here")
            return os.readlink(f"/proc/{self.holder.pid}/ns/net") != here

        try:
            wait_until(entered, 10, "the namespace")
        except BaseException:
            self.end()
            raise

    def inside(self, words):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *words]

    def run(self, *words, env=None, text=None, check=True):
        return subprocess.run(self.inside(words), env=env, input=text, stdin=None if text is not None else subprocess.DEVNULL, check=check,
                              capture_output=True, text=True, timeout=120)

    def start(self, *words, env=None, log=subprocess.DEVNULL):
        self.children.append(subprocess.Popen(self.inside(["timeout", "--foreground", str(LIMIT), *words]), env=env, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log))
        return self.children[-1]

    def end(self):
        for child in self.children:
            child.terminate()  # `timeout` hands it on
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.holder.kill()
        self.holder.wait()


class Network:
    """`hub` is the broker's host, and the switch to which the others are plugged."""

    def __init__(self, *names):
        self.hosts = {}
        try:
            for name in ("hub", *names):
                self.hosts[name] = Host(name)
            hub = self["hub"]
            for words in (["link", "set", "lo", "up"], ["link", "add", "br0", "type", "bridge"], ["address", "add", f"{BROKER}/24", "dev", "br0"],
                          ["link", "set", "br0", "up"]):
                hub.run("ip", *words)
            for number, name in enumerate(names, start=2):
                hub.run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(self[name].holder.pid))
                hub.run("ip", "link", "set", f"to-{name}", "master", "br0", "up")
                for words in (["link", "set", "lo", "up"], ["address", "add", f"10.77.0.{number}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
                    self[name].run("ip", *words)
        except BaseException:
            self.end()
            raise

    def __getitem__(self, name):
        return self.hosts[name]

    def cut(self, name):
        self["hub"].run("ip", "link", "set", f"to-{name}", "down")

    def heal(self, name):
        self["hub"].run("ip", "link", "set", f"to-{name}", "up")

    def end(self):
        for host in reversed(list(self.hosts.values())):
            host.end()


class Worker:
    """A worker on a host; `status` is the last line that it told its service manager."""

    def __init__(self, host, stem, module, env, directory):
        self.host, self.stem = host, stem
        self.notify = f"{directory}/{host.name}.notify"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.listener.bind(self.notify)
        self.env = env | {"STEM_WORKER_NODE": host.name, "NOTIFY_SOCKET": self.notify}
        self.log_path = f"{directory}/{host.name}.log"
        self._status = ""
        # Read at once: who tells its status does not wait for a listener that is busy.
        threading.Thread(target=self.listen, daemon=True).start()
        with open(self.log_path, "ab") as log:
            self.process = host.start(stem, "worker", "start", "--app", module, "--concurrency", "2", env=self.env, log=log)

    def listen(self):
        while True:
            for line in self.listener.recv(65536).decode().splitlines():
                if line.startswith("STATUS="):
                    self._status = line.removeprefix("STATUS=")

    def status(self):
        return self._status

    def done(self):
        found = re.search(r"([\d,]+) done", self.status())
        return int(found[1].replace(",", "")) if found else 0

    def health(self):
        return json.loads(self.host.run(self.stem, "worker", "healthcheck", "--json", env=self.env, check=False).stdout)

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()


class Story:
    def __init__(self, network, stem, module, assets, directory):
        self.network, self.stem = network, stem
        self.ran = f"{directory}/ran"
        self.env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "STEM_BROKER_URL": f"rediss://{BROKER}:{PORT}?timeout=1s",
                    "STEM_TLS_CA_CERT": f"{assets}/ca.pem", "STEM_TLS_CLIENT_CERT": f"{assets}/client.pem",
                    "STEM_TLS_CLIENT_KEY": f"{assets}/client-key.pem", "STEM_SIGNING_KEYS": "v1:" + base64.b64encode(os.urandom(32)).decode(),
                    "STEM_SIGNING_ACTIVE_KEY": "v1", "STEM_VISIBILITY_TIMEOUT": "3s", "STEM_RUNTIME_DIR": f"{directory}/run"}
        network["hub"].start("redis-server", "--port", "0", "--bind", BROKER, "--tls-port", str(PORT), "--tls-cert-file", f"{assets}/server.pem",
                             "--tls-key-file", f"{assets}/server-key.pem", "--tls-ca-cert-file", f"{assets}/ca.pem", "--save", "", "--protected-mode", "no", "--dir", directory)
        wait_until(lambda: self.command("queues", check=False).returncode == 0, 30, "Redis answers the producer")
        self.workers = {name: Worker(network[name], stem, module, self.env, directory) for name in ("east", "west")}
        self.jobs = {}  # id: text

    def command(self, *words, text=None, check=True):
        return self.network["producer"].run(self.stem, *words, env=self.env, text=text, check=check)

    def enqueue(self, count):
        texts = [f"job-{len(self.jobs) + number}" for number in range(count)]
        lines = "".join(json.dumps({"file": self.ran, "text": text, "ms": 30}) + "\n" for text in texts)
        ids = self.command("enqueue", "effect.append", "--args-from", "-", text=lines).stdout.split()
        assert len(ids) == count, ids
        self.jobs |= dict(zip(ids, texts))

    def effects(self):
        if not os.path.exists(self.ran):
            return set()
        with open(self.ran, encoding="utf-8") as file:
            return set(file.read().split())

    def succeeded(self):
        """Texts of the jobs whose results say so."""
        shown = self.command("result", "--json", *self.jobs, check=False).stdout
        return {self.jobs[record["id"]] for record in map(json.loads, shown.splitlines()) if record["state"] == "succeeded"}

    def finish(self, what):
        wait_until(lambda: len(self.succeeded()) == len(self.jobs), 90, what)


def tell(checks, story, network):
    east, west = story.workers["east"], story.workers["west"]
    story.enqueue(200)
    wait_until(lambda: east.done() > 5 and west.done() > 5, 60, "both workers run jobs")
    checks.check("hosts: two workers on two hosts share signed jobs through TLS", [])

    network.cut("east")
    story.enqueue(200)
    wait_until(lambda: f"cannot reach Redis at rediss://{BROKER}:{PORT}" in east.status(), 60, "the worker that is cut off says so")
    health = east.health()
    checks.check("hosts: a worker that is cut off says in its status that the broker does not answer, and lives",
                 ([] if health["broker"]["connected"] is False and "cannot reach" in (health["error"] or "") else [str(health)])
                 + ([] if east.process.poll() is None else ["it has ended"]))
    checks.check("hosts: no result is there without its job", sorted(story.succeeded() - story.effects()))
    story.finish("the other worker does everything, what was leased to the one that is cut off included")
    checks.check("hosts: meanwhile the other one does all jobs", [] if f"{BROKER}" not in west.status() else [west.status()])

    network.heal("east")
    wait_until(lambda: "cannot reach" not in east.status() and east.health()["status"] == "ok", 60, "it is connected again")
    west.process.send_signal(signal.SIGTERM)
    west.process.wait(timeout=60)
    before = east.done()
    story.enqueue(100)
    story.finish("the worker that was cut off goes on")
    checks.check("hosts: when the network is whole again, the worker goes on by itself",
                 ([] if "the broker answers again" in east.log() else [east.log()])
                 + ([] if wait_until(lambda: east.done() >= before + 100, 30, "its count") else []))
    missing = set(story.jobs.values()) - story.effects()
    checks.check("hosts: the effect of every job is seen, and every result has its job",
                 sorted(missing) + sorted(story.succeeded() - story.effects()) + sorted(set(story.jobs.values()) - story.succeeded()))
    queues = json.loads(story.command("queues", "--json").stdout)
    checks.check("hosts: nothing is left, and nothing has died", [str(queue) for queue in queues if queue["dead"] or queue["ready"] or queue["leased"]])

    stranger = network["producer"].run(story.stem, "queues", env={key: value for key, value in story.env.items() if "CLIENT" not in key}, check=False)
    checks.check("hosts: a host without a certificate is not let in",
                 [] if stranger.returncode == 77 and "STEM_TLS_CLIENT_CERT" in stranger.stderr else [f"{stranger.returncode}: {stranger.stderr}"])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 3:
        sys.exit(__doc__)
    stem, module, source = checks.arguments
    for program in ("redis-server", "ip", "nsenter", "unshare", "openssl"):
        if not shutil.which(program):
            checks.skip(f"{program} is not installed")
    if os.geteuid() != 0:
        checks.skip("network namespaces take root")
    with tempfile.TemporaryDirectory(prefix="stem-hosts-") as directory:
        try:
            network = Network("producer", "east", "west")
        except (OSError, subprocess.CalledProcessError) as error:
            checks.skip(f"no network of our own can be made here: {getattr(error, 'stderr', None) or error}")
        try:
            subprocess.run([f"{source}/scripts/security/generate_tls_assets.sh", "--out", f"{directory}/tls", "--host", BROKER], check=True,
                           stdout=subprocess.DEVNULL)
            story = Story(network, stem, module, f"{directory}/tls", directory)
            try:
                tell(checks, story, network)
            except (AssertionError, TimeoutError, subprocess.SubprocessError) as error:
                checks.check("hosts: the story comes to its end", [str(error), *(f"{name}: {worker.status()}\n{worker.log()[-3000:]}"
                                                                              for name, worker in story.workers.items())])
        finally:
            network.end()
    checks.finish()


if __name__ == "__main__":
    main()
