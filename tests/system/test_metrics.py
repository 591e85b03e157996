"""Metrics under a real systemd: a port of the worker, socket activation, and a node that stays stopped."""

import re
import shutil
import time

from box import Skip, allow, wait_until
from workers import Workers

UNIX = "unix:/run/stem/%n.metrics"

# A client without more than python3, which every box has.
GET = """
import socket, sys
place = sys.argv[1]
if place.startswith("/"):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(place)
else:
    host, _, port = place.rpartition(":")
    client = socket.create_connection((host, int(port)), 20)
client.sendall(b"GET /metrics HTTP/1.1\\r\\nHost: box\\r\\n\\r\\n")
text = b""
while block := client.recv(65536):
    text += block
sys.stdout.write(text.decode())
"""


def scrape(box, place, user=None, check=True):
    """(status, body)"""
    ran = box.run(["python3", "-c", GET, place], user=user, check=check)
    head, _, body = ran.stdout.replace("\r\n", "\n").partition("\n\n")
    return (int(head.split()[1]) if head else 0), body


def value(page, name, **labels):
    """Of the only line that has these labels."""
    found = []
    for line in page.splitlines():
        if match := re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line):
            own = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if match[1] == name and labels.items() <= own.items():
                found.append(float(match[3]))
    assert len(found) == 1, (name, labels, page)
    return found[0]


def test_exposure_of_the_exporter_is_at_most_1_4(box):
    shown = box.run(["systemd-analyze", "security", "--no-pager", "stem-metrics@x.service"]).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown).group(1))
    assert exposure <= 1.4, shown


@allow(seconds=120)
def test_a_worker_serves_what_it_has_done_and_says_its_watchdog(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nWatchdogSec=4\n")
    workers.start("web-1", "--metrics-listen", UNIX)
    assert box.run(["stat", "-c", "%a %U %G", "/run/stem/web-1.metrics"]).stdout == "660 stem stem\n"
    workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "done", "ms": 20}', "--wait")
    status, page = scrape(box, "/run/stem/web-1.metrics", user="stem")
    assert status == 200
    job = {"task": "effect.append", "queue": "default"}
    assert value(page, "stem_tasks_started_total", **job) == 1
    wait_until(lambda: value(scrape(box, "/run/stem/web-1.metrics")[1], "stem_tasks_succeeded_total", **job) == 1, what="the end is counted")
    assert value(page, "stem_worker_up", worker="web-1", namespace="stem", state="running") == 1
    assert value(page, "stem_worker_watchdog_limit_seconds", worker="web-1") == 4
    assert value(page, "stem_worker_watchdog_pings_total", worker="web-1") >= 1
    assert value(page, "stem_worker_watchdog_age_seconds", worker="web-1") <= 4
    assert abs(value(page, "stem_worker_start_time_seconds", worker="web-1") - time.time()) < 600
    wait_until(lambda: "stem_queue_depth{" in scrape(box, "/run/stem/web-1.metrics")[1], what="the queues were looked at")
    # A reload keeps the listener, and a stop takes the socket along.
    pid = workers.pid("web-1")
    box.run(["systemctl", "reload", "stem-worker@web-1"])
    assert scrape(box, "/run/stem/web-1.metrics")[0] == 200 and workers.pid("web-1") == pid
    box.run(["systemctl", "stop", "stem-worker@web-1"])
    assert not box.exists("/run/stem/web-1.metrics")


@allow(seconds=120)
def test_a_scrape_starts_an_exporter_and_never_a_worker(box):
    workers = Workers(box)
    workers.start("web-1")
    box.run(["systemctl", "start", "stem-metrics@web-1.socket"])
    assert box.run(["stat", "-c", "%a %U %G", "/run/stem/web-1.metrics"]).stdout == "660 stem stem\n"
    assert box.properties("stem-metrics@web-1.service", "ActiveState")["ActiveState"] == "inactive"
    workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "done"}', "--wait")
    status, page = scrape(box, "/run/stem/web-1.metrics")
    assert status == 200 and value(page, "stem_tasks_started_total", task="effect.append") == 1, page
    assert box.properties("stem-metrics@web-1.service", "ActiveState")["ActiveState"] == "active"

    box.run(["systemctl", "stop", "stem-worker@web-1"])
    status, answer = scrape(box, "/run/stem/web-1.metrics")
    assert status == 503 and "web-1" in answer and answer.count("\n") == 1, answer
    assert box.properties("stem-worker@web-1", "ActiveState")["ActiveState"] == "inactive"
    assert box.run(["pgrep", "-fc", "^/usr/bin/stem worker start"], check={1}).stdout == "0\n"

    # The same exporter tells of the node that was started again.
    box.run(["systemctl", "start", "stem-worker@web-1"])
    status, page = scrape(box, "/run/stem/web-1.metrics")
    assert status == 200 and value(page, "stem_worker_up", worker="web-1") == 1
    assert "stem_tasks_started_total{" not in page

    # Stopped together with the socket, nothing is left.
    box.run(["systemctl", "stop", "stem-metrics@web-1.socket", "stem-metrics@web-1.service"])
    assert not box.exists("/run/stem/web-1.metrics")


@allow(seconds=120)
def test_the_exporter_goes_when_nobody_comes_and_comes_with_the_next_scrape(box):
    workers = Workers(box)
    workers.start("web-1")
    workers.drop_in("[Service]\nExecStart=\nExecStart=/usr/bin/stem observe metrics --serve --node %i --runtime-dir /run/stem --idle 1s\n",
                    "stem-metrics@.service")
    box.run(["systemctl", "start", "stem-metrics@web-1.socket"])
    for _ in range(2):
        assert scrape(box, "/run/stem/web-1.metrics")[0] == 200
        wait_until(lambda: box.properties("stem-metrics@web-1.service", "ActiveState")["ActiveState"] == "inactive", 20, "it has gone")
    assert box.properties("stem-metrics@web-1.service", "Result")["Result"] == "success"


@allow(seconds=120)
def test_a_port_in_place_of_the_socket_is_a_drop_in_and_the_page_is_sound(box):
    workers = Workers(box)
    box.run("mkdir -p /etc/systemd/system/stem-metrics@web-1.socket.d && "
            "cp /usr/share/stem/drop-ins/metrics-port.conf /etc/systemd/system/stem-metrics@web-1.socket.d/ && systemctl daemon-reload")
    workers.start("web-1")
    workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "done"}', "--wait")
    box.run(["systemctl", "start", "stem-metrics@web-1.socket"])
    status, page = scrape(box, "127.0.0.1:9464")
    assert status == 200 and value(page, "stem_worker_up", worker="web-1") == 1
    if shutil.which("promtool") is None:
        raise Skip("promtool is not installed; apt-get install prometheus")
    box.run(["promtool", "check", "metrics"], input=page)


@allow(seconds=120)
def test_the_scheduler_has_metrics_in_both_ways(box):
    box.write("/etc/stem/scheduler.env", f"STEM_METRICS_LISTEN={UNIX}\n", mode=0o644)
    box.run(["systemctl", "start", "stem-scheduler"])
    status, page = scrape(box, "/run/stem/scheduler.metrics")
    assert status == 200 and value(page, "stem_scheduler_up", worker="scheduler", state="running") == 1
    wait_until(lambda: value(scrape(box, "/run/stem/scheduler.metrics")[1], "stem_scheduler_lock_acquired_total") == 1, what="it leads")
    box.write("/etc/stem/scheduler.env", "", mode=0o644)
    box.run(["systemctl", "restart", "stem-scheduler"])
    assert not box.exists("/run/stem/scheduler.metrics")
    box.run(["systemctl", "start", "stem-metrics@scheduler.socket"])
    status, page = scrape(box, "/run/stem/scheduler.metrics")
    assert status == 200 and value(page, "stem_scheduler_up", worker="scheduler") == 1
    shown = box.run(["stem", "observe", "metrics", "--node", "scheduler", "--json"]).json()
    assert {gauge["name"] for gauge in shown["gauges"]} >= {"stem.scheduler.up", "stem.scheduler.leading", "stem.build_info"}


@allow(seconds=120)
def test_a_place_that_is_taken_or_wrong_is_an_error_of_its_own(box):
    workers = Workers(box)
    box.write("/etc/stem/stem.env", "STEM_METRICS_LISTEN=9464\n", mode=0o644)
    workers.start("a")
    refused = workers.start("b", check=69)
    assert "127.0.0.1:9464" in refused.stdout + refused.stderr, refused
    assert scrape(box, "127.0.0.1:9464")[0] == 200
    started = ["stem", "worker", "start", "--node", "c", "--app", "/x.so", "--runtime-dir", "/tmp/c"]
    wrong = box.run([*started, "--metrics-listen", "everywhere"], check={64})
    assert "everywhere" in wrong.stderr and wrong.stderr.count("\n") == 1
    box.run(started, env={"STEM_METRICS_LISTEN": "everywhere"}, check={78})
    absent = box.run(["stem", "observe", "metrics", "--node", "nobody"], check={69})
    assert absent.stderr.count("\n") == 1
