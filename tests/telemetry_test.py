#!/usr/bin/env python3
"""What the program tells an OpenTelemetry collector: spans of one trace over several processes, and what a worker pays for a
collector that is gone, or that there is none of.

Usage: tests/telemetry_test.py STEM MODULE SOURCE_DIR    MODULE is tests/modules/effects
"""

import gzip
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from checks import Checks
from signing_test import Queue, Worker

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """A collector of OTLP/HTTP in JSON, on a free port of 127.0.0.1."""

    def __init__(self, status=200, delay=0.0, tls=None):
        self.requests, self.spans, self.metrics, self.faults = [], [], {}, []
        self.lock = threading.Lock()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # the name is http.server's
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(delay)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, dict(self.headers), json.loads(body))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        with self.lock:
            self.requests.append((path, headers))
            if path == "/v1/traces":
                self.faults += faults_of_traces(body)
                self.spans += [span | {"resource": resource["resource"]} for resource in body["resourceSpans"]
                               for scope in resource["scopeSpans"] for span in scope["spans"]]
            elif path == "/v1/metrics":
                self.faults += faults_of_metrics(body)
                for resource in body["resourceMetrics"]:
                    for scope in resource["scopeMetrics"]:
                        for metric in scope["metrics"]:
                            self.metrics[metric["name"]] = metric | {"resource": resource["resource"]}
            else:
                self.faults.append(f"posted to {path}")

    def named(self, name):
        with self.lock:
            return [span for span in self.spans if span["name"] == name]

    def wait(self, holds, seconds=30):
        deadline = time.monotonic() + seconds
        while not holds(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attributes(thing):
    return {one["key"]: next(iter(one["value"].values())) for one in thing["attributes"]}


def faults_of_attributes(thing):
    for one in thing["attributes"]:
        if set(one) != {"key", "value"} or len(one["value"]) != 1:
            yield f"an attribute is {one}"
        kind, value = next(iter(one["value"].items()))
        if not isinstance(value, {"stringValue": str, "intValue": str, "doubleValue": (int, float), "boolValue": bool}.get(kind, ())):
            yield f"an attribute is {one}"


def is_whole(text):
    return isinstance(text, str) and re.fullmatch(r"\d+", text)


def faults_of_traces(body):
    for resource in body["resourceSpans"]:
        yield from faults_of_attributes(resource["resource"])
        for scope in resource["scopeSpans"]:
            if set(scope) != {"scope", "spans"}:
                yield f"a scope has {set(scope)}"
            for span in scope["spans"]:
                yield from faults_of_attributes(span)
                extra = set(span) - {"traceId", "spanId", "parentSpanId", "traceState", "flags", "name", "kind", "startTimeUnixNano",
                                     "endTimeUnixNano", "attributes", "status"}
                if extra or not re.fullmatch(r"[0-9a-f]{32}", span["traceId"]) or not re.fullmatch(r"[0-9a-f]{16}", span["spanId"]):
                    yield f"a span is {span}"
                if not is_whole(span["startTimeUnixNano"]) or not is_whole(span["endTimeUnixNano"]) or span["kind"] not in (1, 4, 5):
                    yield f"a span is {span}"


def faults_of_metrics(body):
    for resource in body["resourceMetrics"]:
        yield from faults_of_attributes(resource["resource"])
        for scope in resource["scopeMetrics"]:
            names = [metric["name"] for metric in scope["metrics"]]
            if len(names) != len(set(names)):
                yield "a metric is told twice in one request"
            for metric in scope["metrics"]:
                kind = set(metric) - {"name", "description", "unit"}
                if len(kind) != 1 or not kind <= {"sum", "gauge", "histogram"}:
                    yield f"a metric is {metric}"
                    continue
                kind = kind.pop()
                data = metric[kind]
                if kind != "gauge" and data["aggregationTemporality"] != 2:
                    yield f"not cumulative: {metric}"
                if kind == "sum" and data["isMonotonic"] is not True:
                    yield f"not monotonic: {metric}"
                for point in data["dataPoints"]:
                    yield from faults_of_attributes(point)
                    if not is_whole(point["timeUnixNano"]) or (kind != "gauge" and not is_whole(point["startTimeUnixNano"])):
                        yield f"a time of {point}"
                    if kind == "histogram":
                        counts = [int(count) for count in point["bucketCounts"]]
                        if not is_whole(point["count"]) or sum(counts) != int(point["count"]) or len(counts) != len(point["explicitBounds"]) + 1:
                            yield f"a histogram is {point}"
                    elif not is_whole(point.get("asInt", "0")) or not ("asInt" in point or isinstance(point["asDouble"], (int, float))):
                        yield f"a value of {point}"


def memory_of(pid):
    """PSS in KiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M)[1])


def traces(checks, queue):
    collector = Collector()
    tells = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_SERVICE_NAME": "mail",
             "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20s3cret",
             "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    with Worker(queue, **tells) as worker:
        done = queue.enqueue("one", "--wait", TRACEPARENT=PARENT, TRACESTATE="vendor=1", **tells)
        arrived = collector.wait(lambda told: len(told.spans) >= 3)
        maps = worker.maps()
    names = {span["name"]: span for span in collector.spans}
    checks.check("telemetry: producer and worker, two processes, tell of one trace, which the producer's caller began",
                 ([] if done.returncode == 0 and arrived else [done.stderr + worker.log]) +
                 [f"{name}: {span['traceId']}" for name, span in names.items() if span["traceId"] != PARENT[3:35]])
    chain = [names.get(name, {}) for name in ("stem.enqueue", "stem.consume", "stem.execute.effect.append")]
    parents = [PARENT[36:52], chain[0].get("spanId"), chain[1].get("spanId")]
    checks.check("telemetry: each span is below the one before",
                 [f"{span}" for span, parent in zip(chain, parents) if span.get("parentSpanId") != parent or span.get("traceState") != "vendor=1"])
    checks.check("telemetry: the resource says who tells, as the variables have it",
                 [f"{of}" for of in [attributes(span["resource"]) for span in collector.spans]
                  if of.get("service.name") != "mail" or of.get("deployment.environment") != "test" or of.get("telemetry.sdk.name") != "stem"])
    checks.check("telemetry: requests carry the headers that were asked for, and are packed",
                 [f"{headers}" for _, headers in collector.requests
                  if headers.get("authorization") != "Bearer s3cret" or headers.get("Content-Encoding") != "gzip"])
    checks.check("telemetry: a worker that tells has loaded libcurl, and says nothing of the headers",
                 ([] if "libcurl" in maps else ["it has not"]) + ([worker.log] if "s3cret" in worker.log else []))
    checks.check("telemetry: everything is as OTLP's JSON has it", collector.faults)
    with Worker(queue) as worker:
        queue.enqueue("two", "--wait")
        maps = worker.maps()
    checks.check("telemetry: a worker without a collector loads neither libcurl nor zlib for it, and has no thread more",
                 [library for library in ("libcurl",) if library in maps])
    malformed = queue.enqueue("three", TRACEPARENT="00-00000000000000000000000000000000-1-01", **tells)
    checks.check("telemetry: a malformed TRACEPARENT is no error", [] if malformed.returncode == 0 else [malformed.stderr])
    collector.close()


def secrets(checks, queue, directory):
    collector = Collector()
    os.mkdir(f"{directory}/credentials")
    with open(f"{directory}/credentials/stem.exporter-otlp-headers", "w", encoding="utf-8") as file:
        file.write("authorization=from-a-file\n")
    with open(f"{directory}/stem.env", "w", encoding="utf-8") as file:
        file.write(f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\nOTEL_EXPORTER_OTLP_HEADERS=authorization=plain\n")
    done = queue.run("enqueue", "effect.append", "--env-file", f"{directory}/stem.env", CREDENTIALS_DIRECTORY=f"{directory}/credentials")
    collector.wait(lambda told: told.requests)
    checks.check("telemetry: an environment file may say all of it, and headers may come as a credential, which wins",
                 [] if done.returncode == 0 and [headers["authorization"] for _, headers in collector.requests] == ["from-a-file"]
                 else [done.stderr, f"{collector.requests}"])
    collector.close()


def tls(checks, queue, directory, source):
    subprocess.run([f"{source}/scripts/security/generate_tls_assets.sh", "--out", f"{directory}/tls"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    collector = Collector(tls=(f"{directory}/tls/server.pem", f"{directory}/tls/server-key.pem"))
    tells = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "20"}
    trusted = queue.enqueue("tls", **tells, OTEL_EXPORTER_OTLP_CERTIFICATE=f"{directory}/tls/ca.pem")
    came = collector.wait(lambda told: told.spans)
    checks.check("telemetry: a collector with TLS is told, if its certificate comes from OTEL_EXPORTER_OTLP_CERTIFICATE",
                 [] if trusted.returncode == 0 and came else [trusted.stderr])
    before = len(collector.spans)
    with Worker(queue, **tells) as worker:
        for _ in range(3):
            queue.enqueue("tls", "--wait")
        warned = collector.wait(lambda _: "does not take spans" in worker.log)
    checks.check("telemetry: another's certificate is refused, nothing is told, and one warning says why",
                 ([] if warned and worker.log.count("does not take spans") == 1 else [worker.log]) +
                 ([] if len(collector.spans) == before else ["it was told"]))
    collector.close()


def public_authority(checks, queue, directory):
    # In a mount namespace of its own, in which the system trusts an authority of ours.
    inside = ["unshare", "-r", "-m", "sh", "-c", 'mount --bind "$0" /etc/ssl/certs && exec "$@"', f"{directory}/public"]
    os.mkdir(f"{directory}/public")
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: a directory of authorities of our own takes namespaces of users and mounts")
        return
    # Of another name: of two authorities of one name only the first is looked at.
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=another authority",
                    "-days", "2", "-out", f"{directory}/other.pem", "-keyout", "/dev/null"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    shutil.copy(f"{directory}/tls/ca.pem", f"{directory}/public/ours.pem")
    subprocess.run(["openssl", "rehash", f"{directory}/public"], check=True, capture_output=True)
    shutil.copy(f"{directory}/other.pem", f"{directory}/public/ca-certificates.crt")
    collector = Collector(tls=(f"{directory}/tls/server.pem", f"{directory}/tls/server-key.pem"))
    tells = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none", "OTEL_BSP_SCHEDULE_DELAY": "20"}

    def enqueue(**variables):
        return subprocess.run([*inside, queue.stem, "enqueue", "effect.append"], env=queue.base | tells | variables, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=60)
    done = enqueue()
    came = collector.wait(lambda told: told.spans)
    checks.check("telemetry: without OTEL_EXPORTER_OTLP_CERTIFICATE the system's authorities are trusted", [] if came else [done.stderr])
    before = len(collector.spans)
    done = enqueue(OTEL_EXPORTER_OTLP_CERTIFICATE=f"{directory}/other.pem")
    checks.check("telemetry: with it they are not, and nothing is told to who has a certificate of theirs",
                 [] if done.returncode == 0 and len(collector.spans) == before else [done.stderr, f"{collector.spans[before:]}"])
    collector.close()


def pool(checks, queue):
    for kept in (False, True):
        early = False
        collector = Collector()
        tells = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRICS_EXPORTER": "none", "STEM_WORKER_POOL": "processes",
                 "STEM_WORKER_CONCURRENCY": "2", "STEM_WORKER_MAX_TASKS_PER_CHILD": "1" if kept else "0"}
        args = json.dumps({"task": "effect.pid", "kept": kept})
        with Worker(queue, **tells) as worker:
            done = [queue.run("enqueue", "effect.enqueue", "--args", args, "--wait") for _ in range(4)]
            if kept:  # each process ends with its job, and says its last words then
                early = collector.wait(lambda told: len(told.named("stem.enqueue")) >= 4)
        arrived = collector.wait(lambda told: len(told.named("stem.enqueue")) >= 4 and len(told.named("stem.execute.effect.pid")) >= 4)
        arrived = arrived and (early or not kept)
        below = {span["spanId"] for span in collector.named("stem.execute.effect.enqueue")}
        enqueued = {span["spanId"] for span in collector.named("stem.enqueue")}
        checks.check("telemetry: what handlers in processes enqueue is told of, " + ("and by each before it ends" if kept else "also at the end of the worker"),
                     ([] if arrived and all(one.returncode == 0 for one in done) else [worker.log, *(one.stderr for one in done)]) +
                     [f"{span}" for span in collector.named("stem.enqueue") if span.get("parentSpanId") not in below] +
                     [f"{span}" for span in collector.named("stem.consume") if span.get("parentSpanId") not in enqueued
                      and attributes(span)["stem.task"] == "effect.pid"])
        collector.close()
    # A collector that hangs holds up neither jobs nor processes.
    collector = Collector(delay=30)
    tells |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "STEM_WORKER_MAX_TASKS_PER_CHILD": "0"}
    with Worker(queue, **tells):
        begun = time.monotonic()
        for _ in range(4):
            queue.run("enqueue", "effect.enqueue", "--args", json.dumps({"task": "effect.pid"}), "--wait")
        took = time.monotonic() - begun
    checks.check("telemetry: a collector that hangs holds up no handler whose Stem ends with its job", [] if took < 7 else [f"four jobs took {took:.1f} s"])
    collector.close()


def metrics(checks, queue):
    collector = Collector()
    tells = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_TRACES_EXPORTER": "none",
             "STEM_WORKER_NODE": "figures", "STEM_WORKER_NAMESPACE": "ns"}
    with Worker(queue, **tells):
        for number in range(3):
            queue.enqueue(f"figure {number}", "--wait")

        def done(told):
            return sum(int(point["asInt"]) for point in told.metrics.get("stem.tasks.succeeded", {"sum": {"dataPoints": []}})["sum"]["dataPoints"]) == 3

        checks.check("telemetry: a worker's counters come to the collector at each interval", [] if collector.wait(done) else [f"{collector.metrics}"])
    told = collector.metrics
    checks.check("telemetry: gauges and histograms come, too, and the resource says which worker tells",
                 [f"{name}: {told.get(name)}" for name, kind in (("stem.worker.concurrency", "gauge"), ("stem.task.duration", "histogram"),
                                                                 ("stem.exporter.dropped", "sum"), ("stem.worker.up", "gauge"))
                  if kind not in told.get(name, {}) or attributes(told[name]["resource"]).get("service.name") != "ns"
                  or not attributes(told[name]["resource"]).get("service.instance.id", "").startswith("figures@")])
    checks.check("telemetry: with OTEL_TRACES_EXPORTER=none no span is told", [f"{collector.spans}"] if collector.spans else [])
    checks.check("telemetry: metrics are as OTLP's JSON has them", collector.faults)
    before = len(collector.requests)
    with Worker(queue, **tells | {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}):
        queue.enqueue("last words", "--wait")
    checks.check("telemetry: a worker that ends tells its figures once more", [] if len(collector.requests) == before + 1 else [f"{collector.requests}"])
    scheduler = subprocess.Popen([queue.stem, "scheduler", "start"], env=queue.base | tells, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
    came = collector.wait(lambda told: "stem.scheduler.up" in told.metrics)
    scheduler.terminate()
    log = scheduler.communicate(timeout=60)[1]
    checks.check("telemetry: a scheduler tells its figures", [] if came else [log])
    with subprocess.Popen([queue.stem, "worker", "start", "--app", queue.module], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          env=queue.base | {"STEM_METRIC_EXPORTERS": "console", "OTEL_METRIC_EXPORT_INTERVAL": "200"}) as worker:
        line = json.loads(worker.stdout.readline())
        worker.terminate()
        worker.communicate(timeout=60)
    checks.check("telemetry: STEM_METRIC_EXPORTERS=console prints a JSON object a line", [] if {"type", "name", "value", "tags", "timestamp"} <= set(line) else [f"{line}"])
    collector.close()


def wrong(checks, queue):
    with Worker(queue, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_TRACES_SAMPLER="sometimes",
                STEM_METRIC_EXPORTERS="otlp,statsd") as worker:
        done = queue.enqueue("wrong", "--wait")
    checks.check("telemetry: a setting that cannot be used keeps no worker from its work, and is told of in one line each",
                 ([] if done.returncode == 0 else [done.stderr]) +
                 [f"{name}: {worker.log}" for name in ("OTEL_EXPORTER_OTLP_PROTOCOL='grpc' is ignored", "OTEL_TRACES_SAMPLER='sometimes' is ignored", "'statsd'")
                  if worker.log.count(name) != 1])
    with Worker(queue, STEM_OTLP_ENDPOINT="collector:4317") as worker:
        worker.process.wait(timeout=60)
    checks.check("telemetry: a STEM_OTLP_ENDPOINT that is none is refused with exit status 78",
                 [] if worker.process.returncode == 78 and "STEM_OTLP_ENDPOINT" in worker.log else [worker.log])


def main():
    checks = Checks(sys.argv[1:])
    stem, module, source = (os.path.abspath(path) for path in checks.arguments)
    with tempfile.TemporaryDirectory(prefix="stem-telemetry-") as directory:
        queue = Queue(stem, module, directory)
        traces(checks, queue)
        secrets(checks, queue, directory)
        tls(checks, queue, directory, source)
        public_authority(checks, queue, directory)
        pool(checks, queue)
        metrics(checks, queue)
        wrong(checks, queue)
    checks.finish()


if __name__ == "__main__":
    main()
