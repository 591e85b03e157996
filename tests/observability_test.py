#!/usr/bin/env python3
"""docs/observability/: dashboards and alert rules are well-formed, and a real Prometheus that scrapes live workers and a
scheduler has an answer to each query in them; each alert that can be provoked within a minute is.

Usage: tests/observability_test.py STEM MODULE WORDS SOURCE_DIR    MODULE is tests/modules/effects, WORDS examples/words
"""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from checks import Checks, PATIENCE, difference, until

# Grafana puts these in; here the window fits a run of a minute that is scraped once a second.
BUILT_IN = {"__rate_interval": "30s"}


def stop_outside_transaction(process, database):
    """Inside of one, it would keep everybody from the database for as long as it is stopped."""
    while True:
        process.send_signal(signal.SIGSTOP)
        store = sqlite3.connect(database, timeout=2, isolation_level=None)
        try:
            store.execute("BEGIN IMMEDIATE")
            store.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
        finally:
            store.close()


# ---- what can be seen without a Prometheus ---------------------------------------------------------------------------


def panels_of(board):
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries_of(board):
    """(where, expression) of each query: panels and annotations."""
    for panel in panels_of(board):
        for target in panel.get("targets", []):
            yield f"{board['uid']}: {panel['title']} {target['refId']}", target["expr"]
    for note in board["annotations"]["list"]:
        if "expr" in note:
            yield f"{board['uid']}: annotation {note['name']}", note["expr"]


def variables_of(board):
    return {one["name"]: one for one in board["templating"]["list"]}


def misplaced(board):
    taken = {}
    for panel in panels_of(board):
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["h"] < 1 or place["x"] + place["w"] > 24:
            yield f"{panel['title']} is outside of the grid"
        for cell in itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                yield f"{panel['title']} covers {taken[cell]}"
                break
            taken[cell] = panel["title"]


def malformed(board):
    numbers = [panel["id"] for panel in panels_of(board)]
    if len(set(numbers)) != len(numbers):
        yield f"ids that are not unique: {sorted(numbers)}"
    if board["id"] is not None or not 36 <= board["schemaVersion"] <= 39:
        yield "it cannot be imported into Grafana 9 and 10"
    variables = variables_of(board)
    if variables.get("datasource", {}).get("type") != "datasource":
        yield "no variable for the data source"
    used = json.dumps(board["panels"]) + json.dumps([one.get("query") for one in board["templating"]["list"]])
    yield from (f"nothing uses the variable {name}" for name in variables if not re.search(rf"\$\{{?{name}\b", used))
    yield from (f"there is no variable {name}" for name in set(re.findall(r"\$\{?(\w+)", " ".join(expression for _, expression in queries_of(board))))
                if name not in variables and name not in BUILT_IN)
    for panel in panels_of(board):
        if panel["type"] == "row":
            continue
        if len(panel.get("description", "")) < 40 and panel["title"] != "Due":
            yield f"{panel['title']}: no description that says what it means and what to do"
        references = [target["refId"] for target in panel["targets"]]
        if not references or len(set(references)) != len(references):
            yield f"{panel['title']}: its queries are {references}"
        if any(one["datasource"] != {"type": "prometheus", "uid": "${datasource}"} for one in [panel, *panel["targets"]]):
            yield f"{panel['title']}: a data source of its own"


def boards(checks, folder):
    found = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    checks.check("dashboards: overview, workers and scheduler are there, each with an identity of its own",
                 [] if {board["uid"] for board in found.values()} == {"stem-overview", "stem-workers", "stem-scheduler"} and len(found) == 3
                 and len({board["title"] for board in found.values()}) == 3 else [str(list(found))])
    for name, board in found.items():
        checks.check(f"dashboards: {name} is well-formed", malformed(board))
        checks.check(f"dashboards: no panel of {name} covers another", misplaced(board))
        links = [link["url"].removeprefix("/d/") for link in board["links"]]
        checks.check(f"dashboards: the links of {name} lead to the others", difference(links, "links", [other["uid"] for other in found.values()], "boards"))
    return found


def rules(checks, source):
    """Of alerts, as far as promtool does not look."""
    text = (source / "docs/observability/stem-alerts.yml").read_text(encoding="utf-8")
    tests = (source / "docs/observability/stem-alerts-test.yml").read_text(encoding="utf-8")
    runbook = (source / "docs/process/observability-runbook.md").read_text(encoding="utf-8")
    alerts = {}
    for part in re.split(r"^ {6}- alert: ", text, flags=re.M)[1:]:
        name, _, body = part.partition("\n")
        alerts[name] = re.split(r"^  - name:", body, flags=re.M)[0]
    checks.check("alerts: there are some for each objective", [name for name in ("StemSuccessBelowObjective", "StemLatencyAboveObjective", "StemQueueDepthAboveObjective")
                                                             if name not in alerts])
    checks.check("alerts: each has a severity, a summary and a description",
                 [name for name, body in alerts.items() if not re.search(r"severity: (critical|warning)\b", body)
                  or not all(re.search(rf"^ +{key}: '.{{20,}}'$", body, re.M) for key in ("summary", "description"))])
    checks.check("alerts: each links to its section of the runbook", [name for name, body in alerts.items()
                                                                    if f"runbook_url: docs/process/observability-runbook.md#{name.lower()}\n" not in body + "\n"])
    checks.check("alerts: the runbook has a section for each, and for nothing else",
                 difference(alerts, "stem-alerts.yml", re.findall(r"^### (Stem\w+)$", runbook, re.M), "the runbook"))
    sections = dict(re.findall(r"^### (Stem\w+)\n(.*?)(?=^##)", runbook + "\n##", re.M | re.S))
    checks.check("alerts: each section says what it means, how to look, causes, what to do, and how to know that it is over",
                 [f"{name}: no {word}" for name, body in sections.items() for word in ("It means:", "Look:", "Causes:", "Do:", "It is over") if f"**{word}" not in body])
    fires = set(re.findall(r"alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests))
    silent = set(re.findall(r"\{alertname: (\w+), eval_time: \w+\}", tests))
    checks.check("alerts: each fires in a test", difference(alerts, "the rules", fires, "tests"))
    checks.check("alerts: each is silent in a test", difference(alerts, "the rules", silent, "tests"))
    return list(alerts)


def promtool(*arguments, **more):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=300, **more)


# ---- a fleet, and the Prometheus that scrapes it ---------------------------------------------------------------------


def free_ports(count):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Fleet:
    """Workers and schedulers with their pages, what they share, and the Prometheus. `targets` is what it scrapes."""

    def __init__(self, checks, directory):
        self.stem, self.module, self.words, _ = checks.arguments
        self.directory, self.processes, self.pages, self.targets = directory, {}, {}, []
        # A collector that is away: the port is taken, and nobody listens there.
        self.collector = socket.socket()
        self.collector.bind(("127.0.0.1", 0))
        self.ports = iter(free_ports(12))
        self.base = {name: value for name, value in os.environ.items() if not name.startswith(("STEM", "OTEL_", "LC_", "LANG"))}
        self.base |= {"STEM_BROKER_URL": f"sqlite://{directory}/stem.db", "STEM_RUNTIME_DIR": f"{directory}/run", "STEM_HEARTBEAT_INTERVAL": "1s",
                      "STEM_RETRY_BASE": "50ms", "STEM_RETRY_CAP": "50ms", "LC_ALL": "C.UTF-8"}
        self.prometheus = f"127.0.0.1:{next(self.ports)}"
        # A service manager that expects signs of life: there is an age of the watchdog to show.
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"{directory}/notify")
        threading.Thread(target=self.listen, daemon=True).start()
        self.watched = {"NOTIFY_SOCKET": f"{directory}/notify", "WATCHDOG_USEC": "60000000"}

    def listen(self):
        with contextlib.suppress(OSError):
            while True:
                self.manager.recv(65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes.values():
            process.wait()
        self.manager.close()
        self.collector.close()

    def begin(self, name, *words, targeted=True, **variables):
        """Starts a process that has a page, or starts it again, at the same address."""
        if name not in self.pages:
            self.pages[name] = f"127.0.0.1:{next(self.ports)}"
        with open(f"{self.directory}/{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(words, env=self.base | self.watched | {"STEM_METRICS_LISTEN": self.pages[name]} | variables,
                                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if targeted and self.pages[name] not in self.targets:
            self.scrape([*self.targets, self.pages[name]])

    def worker(self, name, queues, concurrency=2, **variables):
        self.begin(name, self.stem, "worker", "start", "--node", name, "--app", self.module, "-q", queues, "-c", str(concurrency), **variables)

    def log(self, name):
        return Path(f"{self.directory}/{name}.log").read_text(encoding="utf-8")

    def end(self, name, how=signal.SIGTERM):
        self.processes[name].send_signal(how)
        self.processes[name].wait(timeout=PATIENCE)

    def run(self, *words, text=None, **variables):
        ran = subprocess.run([self.stem, *words], env=self.base | variables, input=text, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
        if ran.returncode:
            raise RuntimeError(f"stem {' '.join(words)}: {ran.returncode}: {ran.stdout}{ran.stderr}")
        return ran.stdout.strip()

    def enqueue(self, task, args, *more, **variables):
        return self.run("enqueue", task, "--args", json.dumps(args), *more, **variables)

    def enqueue_many(self, task, args, count, *more):
        self.run("enqueue", task, "--args-from", "-", *more, text=(json.dumps(args) + "\n") * count)

    def page(self, name):
        """What is served there now; empty if nothing is."""
        try:
            with urllib.request.urlopen(f"http://{self.pages[name]}/metrics", timeout=PATIENCE) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, OSError):
            return ""

    # ---- Prometheus

    def scrape(self, targets):
        self.targets = targets
        with open(f"{self.directory}/targets.new", "w", encoding="utf-8") as file:
            json.dump([{"targets": targets}], file)
        os.rename(f"{self.directory}/targets.new", f"{self.directory}/targets.json")

    def start_prometheus(self, rule_file):
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}, "rule_files": [str(rule_file)],
                  "scrape_configs": [{"job_name": "stem", "file_sd_configs": [{"files": [f"{self.directory}/targets.json"], "refresh_interval": "1s"}]}]}
        path = f"{self.directory}/prometheus.yml"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)  # which is YAML, too
        with open(f"{self.directory}/prometheus.log", "wb") as log:
            self.processes["prometheus"] = subprocess.Popen(
                ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={self.directory}/tsdb", f"--web.listen-address={self.prometheus}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return bool(until(lambda: self.ask("/-/ready", plain=True)))

    def ask(self, path, plain=False, **parameters):
        """The answer's data; None if there is none."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"http://{self.prometheus}{path}?{query}", timeout=PATIENCE) as answer:
                return answer.read() if plain else json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if plain:
                return None
            raise RuntimeError(f"{parameters}: {error.read().decode()}") from None
        except (urllib.error.URLError, OSError):
            return None

    def query(self, expression):
        """Values that are numbers."""
        data = self.ask("/api/v1/query", query=expression)
        return [one for one in data["result"] if not math.isnan(float(one["value"][1]))] if data else []

    def alerts(self):
        return {one["labels"]["alertname"] for one in (self.ask("/api/v1/alerts") or {"alerts": []})["alerts"]}


def filled(expression, variables):
    """With what Grafana puts in for its variables, all of everything being chosen."""
    for name, value in BUILT_IN.items():
        expression = re.sub(rf"\$\{{?{name}\b\}}?", value, expression)
    return re.sub(r"\$\{?(\w+)\}?", lambda match: ".*" if match[1] in variables else match[0], expression)


def without_default(expression):
    """Without the constant that Grafana shows where the rest has nothing; what asks for trouble of which there is none here has nothing."""
    asked, _, _ = expression.partition(" or vector(")
    return expression if "== 0" in asked or "overdue" in asked else asked


def metrics_in(expression):
    """Names of metrics, without those of recording rules, labels and what is quoted."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    return set(re.findall(r"(?<![\w:])(stem_\w+)(?![\w:])", bare))


def pages_text(fleet):
    return {name: fleet.page(name) for name in fleet.pages}


def live(checks, fleet, source, found, alerts):
    folder = source / "docs/observability"
    started = fleet.start_prometheus(folder / "stem-alerts.yml")
    checks.check("prometheus: it starts with the rules", [] if started else [fleet.log("prometheus")])
    if not started:
        return
    keys = {"STEM_SIGNING_ALGORITHM": "hmac-sha256", "STEM_SIGNING_KEYS": "k:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "STEM_SIGNING_ACTIVE_KEY": "k"}
    routes = f"{fleet.directory}/routes.yaml"
    with open(routes, "w", encoding="utf-8") as file:
        json.dump({"queues": {"default": None}, "broadcasts": {"everyone": None},
                   "routes": [{"match": {"task": "effect.broadcast"}, "target": {"type": "broadcast", "name": "everyone"}}]}, file)
    schedules = f"{fleet.directory}/schedules.yaml"
    with open(schedules, "w", encoding="utf-8") as file:
        json.dump([{"name": "tick", "task": "effect.sleep", "schedule": "every:200ms", "args": {"ms": 1}},
                   {"name": "broken", "task": "effect.broadcast", "schedule": "every:500ms"}], file)

    fleet.worker("web-1", "default", 4, OTEL_EXPORTER_OTLP_ENDPOINT="http://{}:{}".format(*fleet.collector.getsockname()),
                 OTEL_BSP_MAX_QUEUE_SIZE="2", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2")
    fleet.worker("slow-1", "lost", 1, STEM_VISIBILITY_TIMEOUT="1s")
    fleet.worker("tar-1", "tar", 2, STEM_TASK_TIME_LIMIT="500ms")
    fleet.worker("sealed-1", "sealed", 1, STEM_WORKER_NAMESPACE="sealed", **keys)
    fleet.worker("mail-1", "mail", 1)
    fleet.begin("words-1", fleet.words, "worker", STEM_WORKER_NODE="words-1", STEM_WORKER_QUEUES="words")
    with_redis = shutil.which("redis-server")
    if with_redis:
        redis = f"{fleet.directory}/redis.sock"
        fleet.processes["redis"] = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", redis, "--save", "", "--dir", fleet.directory],
                                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(redis))
        fleet.worker("far-1", "far", 1, STEM_WORKER_NAMESPACE="far", STEM_BROKER_URL=f"redis+socket://{redis}")
    fleet.run("schedule", "apply", "--yes", "--file", schedules)
    fleet.begin("beat-1", fleet.stem, "scheduler", "start", "--node", "beat-1", STEM_ROUTING_CONFIG=routes)
    fleet.begin("beat-2", fleet.stem, "scheduler", "start", "--node", "beat-2", STEM_ROUTING_CONFIG=routes)
    scraped = until(lambda: len(fleet.query("up == 1")) == len(fleet.pages))
    checks.check("prometheus: it scrapes every worker and scheduler",
                 [] if scraped else [f"{fleet.query('up == 0')}", *(fleet.log(name) for name in fleet.pages if not fleet.page(name))])
    if not scraped:
        return

    # ---- what happens: jobs that succeed, fail, are repeated, revoked, too late, put off, refused, stuck and lost
    text = f"{fleet.directory}/text"
    with open(text, "w", encoding="utf-8") as file:
        file.write("one two three")
    subprocess.run([fleet.words, "count", text, text], env=fleet.base | {"STEM_DEFAULT_QUEUE": "words"}, check=True, capture_output=True, timeout=PATIENCE)
    fleet.enqueue_many("effect.sleep", {"ms": 20}, 100)
    fleet.enqueue_many("effect.sleep", {"ms": 8000}, 1, "-q", "lost")
    for wave in (1, 5):  # what a counter has when it is seen first is no increase of it
        fleet.enqueue_many("effect.fail", {"message": "as it should"}, wave, "--max-retries", "1")
        until(lambda least=wave: fleet.query(f'stem_tasks_failed_total{{queue="default"}} >= {least}'))
    fleet.enqueue_many("effect.limited", {}, 3)
    fleet.enqueue_many("effect.sleep", {"ms": 1}, 2, "-q", "sealed")
    fleet.enqueue_many("effect.hang", {}, 2, "-q", "tar", "--max-retries", "0")
    fleet.run("worker", "pause", "-q", "mail")
    revoked = fleet.enqueue("effect.sleep", {"ms": 1}, "-q", "mail")
    fleet.enqueue("effect.sleep", {"ms": 1}, "-q", "mail", "--expires", "1ms")
    fleet.enqueue("effect.sleep", {"ms": 1}, "-q", "mail", "--delay", "1h")
    fleet.run("worker", "revoke", revoked)
    fleet.run("worker", "resume", "-q", "mail")

    # ---- a worker is stopped for longer than its leases
    until(lambda: fleet.query('stem_lease_renewed_total{queue="lost"} > 0'))
    stop_outside_transaction(fleet.processes["slow-1"], f"{fleet.directory}/stem.db")
    fleet.worker("late-1", "lost", 1)
    down = until(lambda: "StemWorkerDown" in fleet.alerts())
    taken = until(lambda: fleet.query('stem_worker_busy{worker="late-1"} > 0'))
    fleet.processes["slow-1"].send_signal(signal.SIGCONT)
    checks.check("a stopped worker's job is taken by another", [] if taken else [fleet.log("late-1")])
    checks.check("alerts: a worker that is stopped is down", [] if down else [str(fleet.alerts())])

    # ---- one that is started again and again, and a queue that nobody serves any more
    for _ in range(3):
        fleet.end("mail-1")
        until(lambda: not fleet.query('stem_worker_up{worker="mail-1"}'))
        fleet.worker("mail-1", "mail", 1)
        until(lambda: fleet.query('stem_worker_up{worker="mail-1"}'))
    restarts = until(lambda: "StemWorkerRestarts" in fleet.alerts())
    checks.check("alerts: a worker that is started again and again is told of", [] if restarts else [str(fleet.query("stem_worker_start_time_seconds"))])
    fleet.end("beat-2")
    fleet.begin("beat-2", fleet.stem, "scheduler", "start", "--node", "beat-2", STEM_ROUTING_CONFIG=routes)
    fleet.enqueue_many("effect.sleep", {"ms": 1}, 120, "-q", "tar")  # both of its handlers are stuck
    if with_redis:
        fleet.end("redis", signal.SIGKILL)

    texts = pages_text(fleet)
    for name in ("web-1", "tar-1", "words-1", "beat-1"):
        linted = promtool("check", "metrics", input=texts[name])
        checks.check(f"pages: promtool check metrics has nothing to say of that of {name}",
                     [] if linted.returncode == 0 and not linted.stdout + linted.stderr and "stem_" in texts[name] else [f"{linted.returncode}: {linted.stdout}{linted.stderr}{texts[name][:500]}"])

    # ---- each query has data
    recorded = {rule["name"]: rule["query"] for group in fleet.ask("/api/v1/rules")["groups"] for rule in group["rules"] if rule["type"] == "recording"}
    silent = list(recorded.items())
    silent += [(where, without_default(filled(expression, variables_of(board)))) for board in found.values() for where, expression in queries_of(board)]

    def still_silent():
        silent[:] = [(where, expression) for where, expression in silent if not fleet.query(expression)]
        return not silent
    until(still_silent)
    asked = sum(len(list(queries_of(board))) for board in found.values())
    checks.check("dashboards: each query of each panel has data", [f"{where}: {expression}" for where, expression in silent if where not in recorded]
                 + ([] if asked > 60 else [f"only {asked} queries"]))
    checks.check("rules: each recording rule has data", [f"{where}: {expression}" for where, expression in silent if where in recorded]
                 + ([] if len(recorded) > 5 else [f"{recorded}"]))
    for board in found.values():
        for one in variables_of(board).values():
            if one["type"] != "query":
                continue
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"])
            values = fleet.ask(f"/api/v1/label/{match[2]}/values", **{"match[]": filled(match[1], variables_of(board))})
            checks.check(f"dashboards: the variable {one['name']} of {board['uid']} has values", [] if values else [one["query"]["query"]])

    # ---- each name is one of a page
    shown = {name for text in pages_text(fleet).values() for name in re.findall(r"^(stem_\w+)", text, re.M)}
    expressions = [expression for board in found.values() for _, expression in queries_of(board)] + list(recorded.values()) + [
        rule["query"] for group in fleet.ask("/api/v1/rules")["groups"] for rule in group["rules"]]
    used = set().union(*map(metrics_in, expressions))
    checks.check("dashboards and rules: each metric that they name is on a page", [f"{name} is not" for name in sorted(used - shown)])
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    checks.check("dashboards and rules: each metric of the pages is shown or looked at",
                 [f"{name} is not" for name in sorted(families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in used})])

    # ---- alerts
    provoked = {"StemSuccessBelowObjective", "StemQueueDepthAboveObjective", "StemDeadLettersGrow", "StemLeasesLost", "StemSignatureInvalid", "StemWorkerRestarts",
                "StemHandlersStuck", "StemWorkerHung", "StemWorkerNotRunning", "StemScheduleFails", "StemExporterDropped"} | ({"StemBrokerDisconnected"} if with_redis else set())
    until(lambda: provoked <= fleet.alerts())
    checks.check("alerts: what was provoked is told of, at once or after its time", [f"{name} is not pending" for name in sorted(provoked - fleet.alerts())])
    quiet = {"StemNoWorkers", "StemSchedulerMissing", "StemSchedulerNobodyLeads", "StemQueueUnserved", "StemNodeMissing"}
    checks.check("alerts: what is well is not", [f"{name} is pending" for name in sorted(quiet & fleet.alerts())])
    compared = {rule["name"]: rule["query"] for group in fleet.ask("/api/v1/rules")["groups"] for rule in group["rules"] if rule["type"] == "alerting"}
    # A comparison as 0 or 1: data of a rule that does not fire. What asks for something to be missing is provoked below.
    checks.check("alerts: each of the others has figures to compare",
                 [f"{name}: {query}" for name, query in compared.items() if name not in provoked | quiet | {"StemWorkerDown"}
                  and not until(lambda asked=re.sub(r"(==|!=|>=|<=|>|<)(?! bool)(?=\s*(on\b|[\d.]))", r"\1 bool", query): fleet.query(asked), 20)])

    fleet.end("mail-1")
    unserved = until(lambda: "StemQueueUnserved" in fleet.alerts())
    checks.check("alerts: a queue whose last worker has ended is told of", [] if unserved else [str(fleet.query("stem_queue_depth"))])
    fleet.scrape([one for one in fleet.targets if one != fleet.pages["mail-1"]])
    missing = until(lambda: "StemNodeMissing" in fleet.alerts())
    checks.check("alerts: a worker that is gone, and its target with it, is missing", [] if missing else [str(fleet.query("up"))])
    for name in ("beat-1", "beat-2"):
        fleet.end(name)
    checks.check("alerts: schedulers that have ended are missed", [] if until(lambda: "StemSchedulerMissing" in fleet.alerts()) else [str(fleet.query("stem_scheduler_up"))])
    for name in [name for name in fleet.pages if fleet.processes[name].poll() is None]:
        fleet.end(name, signal.SIGKILL)
    checks.check("alerts: when no worker answers any more, that is told of", [] if until(lambda: "StemNoWorkers" in fleet.alerts()) else [str(fleet.query("stem_worker_up"))])
    checks.check("alerts: those that were seen here have names in the file", [name for name in compared if name not in alerts])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 4:
        sys.exit(__doc__)
    source = Path(checks.arguments[3]).resolve()
    found = boards(checks, source / "docs/observability")
    alerts = rules(checks, source)
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        if checks.failed:
            checks.finish()
        checks.skip("prometheus is not installed; tool/setup installs it")
    folder = source / "docs/observability"
    for what in (("check", "rules", "stem-alerts.yml"), ("test", "rules", "stem-alerts-test.yml")):
        ran = promtool(*what, cwd=folder)
        checks.check(f"rules: promtool {' '.join(what[:2])} passes", [] if ran.returncode == 0 else [ran.stdout + ran.stderr])
    with tempfile.TemporaryDirectory(prefix="stem-observability-") as directory, Fleet(checks, directory) as fleet:
        live(checks, fleet, source, found, alerts)
    checks.finish()


if __name__ == "__main__":
    main()
