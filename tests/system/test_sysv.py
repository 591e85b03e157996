"""The init scripts, on a machine without systemd: with dpkg's start-stop-daemon, BusyBox's, and none; Red Hat's `daemon`."""

import shutil
import subprocess

from box import Skip, allow, wait_until
from workers import EFFECTS

SCRIPT = "/etc/init.d/stem-worker"
# What /etc/rc.d/init.d/functions of Red Hat's initscripts does with the arguments of `daemon`: options first, then the
# rest as one line for a shell, with the limit and the nice level of the service; 0 or 1 comes back, and a mark is shown.
FUNCTIONS = r"""
success() { printf '[  OK  ]'; return 0; }
failure() { rc=$?; printf '[FAILED]'; return $rc; }
daemon() {
  base= user= force= nice= pid=
  while [ "$1" != "${1##[-+]}" ]; do
    case $1 in
      --check) base=$2; shift 2 ;;
      --user) user=$2; shift 2 ;;
      --pidfile) shift 2 ;;
      --force) force=1; shift ;;
      [-+][0-9]*) nice="nice -n $1"; shift ;;
      *) echo "Usage: daemon [+/-nicelevel] {program}"; return 1 ;;
    esac
  done
  [ -n "$base" ] || base=${1##*/}
  [ ! -f "/var/run/$base.pid" ] || read -r pid <"/var/run/$base.pid"
  [ -n "$pid" ] && [ -z "$force" ] && return
  [ -z "${NICELEVEL:-}" ] || nice="nice -n $NICELEVEL"
  if [ -z "$user" ]; then
    $nice /bin/bash -c "ulimit -S -c ${DAEMON_COREFILE_LIMIT:-0} >/dev/null 2>&1 ; $*"
  else
    $nice runuser -s /bin/bash "$user" -c "ulimit -S -c ${DAEMON_COREFILE_LIMIT:-0} >/dev/null 2>&1 ; $*"
  fi
  [ "$?" -eq 0 ] && success || failure
}
"""


class Service:
    """The script as an administrator installs it, with nodes a and web-1."""

    def __init__(self, plain, default="", config="/etc/default/stem", shell=None, script=SCRIPT):
        self.plain, self.config, self.shell, self.script = plain, config, shell, script
        plain.run(f"install -m 0755 /usr/share/stem/sysv/{script.rpartition('/')[2]} {script}")
        self.configure(default or f'STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS} -c 2"\n')

    def configure(self, text, **mode):
        self.plain.write(self.config, text, **mode)

    def __call__(self, action, *more, rc=0, **options):
        words = [*([self.shell] if self.shell else []), self.script, action, *more]
        ran = self.plain.run([word for part in words for word in part.split()], check=False, timeout=60, **options)
        assert ran.rc == rc, f"{action}: exit status {ran.rc}, not {rc}\n{ran.stdout}{ran.stderr}"
        return ran

    def pids(self):
        """Of all workers, by the kernel."""
        return set(self.plain.run(["pgrep", "-f", "^/usr/bin/stem worker start"], check={0, 1}).lines())

    def pid(self, node):
        return self.plain.read(f"/run/stem/{node}.pid").strip()


def one_life(service):
    """The whole life of two workers; every action twice."""
    plain = service.plain
    service("status", rc=3)
    service("try-restart")
    service("reload", rc=7)
    service("start")
    pids = service.pids()
    assert len(pids) == 2, pids
    assert "running already" in service("start").stdout
    assert service.pids() == pids
    assert "running" in service("status").stdout
    for pid in pids:
        facts = dict(line.split(":\t", 1) for line in plain.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        assert facts["Uid"].split() == [str(plain.uid("stem"))] * 4, facts["Uid"]
    plain.run(["stem", "enqueue", "effect.append", "--args", '{"file": "/var/lib/stem/out", "text": "x"}', "--wait"],
              user="stem", env={"STEM_BROKER_URL": "sqlite:///var/lib/stem/stem.db"})
    assert plain.run(["stat", "-c", "%U %a", "/run/stem", "/var/log/stem", "/var/lib/stem"]).lines() == [
        "stem 755", "stem 755", "stem 2770"]
    service("reload")
    service("force-reload")
    assert service.pids() == pids
    service("restart")
    after = service.pids()
    assert len(after) == 2 and not after & pids
    service("stop")
    assert not service.pids() and not plain.exists("/run/stem/a.pid")
    assert "stopped already" in service("stop").stdout
    service("status", rc=3)


@allow(seconds=120)
def test_two_workers_live_and_end_under_the_script_with_dpkgs_start_stop_daemon(plain):
    one_life(Service(plain))


@allow(seconds=120)
def test_two_workers_live_and_end_under_the_script_with_busyboxs_start_stop_daemon_and_shell(plain):
    if not shutil.which("busybox"):
        raise Skip("busybox is not installed")
    plain.run("mv /sbin/start-stop-daemon /sbin/start-stop-daemon.dpkg && ln -s /bin/busybox /sbin/start-stop-daemon")
    one_life(Service(plain, shell="busybox ash"))


@allow(seconds=120)
def test_two_workers_live_and_end_under_the_script_without_start_stop_daemon(plain):
    plain.run("mv /sbin/start-stop-daemon /sbin/start-stop-daemon.dpkg")
    one_life(Service(plain))


@allow(seconds=120)
def test_red_hats_daemon_starts_them_and_its_lock_file_is_kept(plain):
    plain.run("mv /sbin/start-stop-daemon /sbin/start-stop-daemon.dpkg && mkdir -p /run/lock/subsys")
    plain.write("/etc/rc.d/init.d/functions", FUNCTIONS)
    service = Service(plain, config="/etc/sysconfig/stem", default=(
        f"STEMD_NODES=\"a web-1\"\nSTEMD_OPTS='--app {EFFECTS}'\nNICELEVEL=5\n"))
    one_life(service)
    assert "[  OK  ]" in service("start").stdout
    assert plain.exists("/var/lock/subsys/stem-worker")
    assert plain.run(["ps", "-o", "ni=", "-p", service.pid("a")]).stdout.strip() == "5"
    plain.kill(*service.pids())
    service("status", rc=1)
    service("stop")
    assert not plain.exists("/var/lock/subsys/stem-worker")
    plain.run("touch /var/lock/subsys/stem-worker")
    service("status", rc=2)
    service.configure("STEMD_OPTS='--app /nowhere.so'\n")
    ran = service("start", rc=6)
    assert "[FAILED]" in ran.stdout and "/nowhere.so" in ran.stderr, ran


def test_every_variable_of_the_defaults_file_counts(plain):
    plain.run("useradd --system --no-create-home jobs 2>/dev/null; groupadd -f postmen; mkdir -p /srv/stem; rm -rf /srv/stem/*")
    service = Service(plain, default="\n".join((
        'STEMD_NODES="one two"', 'STEMD_OPTS="--private --queue mail"',
        """STEMD_COMMAND="/bin/sh -c 'while :; do echo it is \\$STEM_WORKER_NODE; sleep 1; done'\"""",
        'STEMD_PID_FILE="/srv/stem/run/%n-%h.pid"', 'STEMD_LOG_FILE="/srv/stem/log/%n%I.log"', 'STEMD_USER="jobs"',
        'STEMD_GROUP="postmen"', "GREETING=hello", "")))
    service("start")
    assert plain.run(["stat", "-c", "%U %G %a", "/srv/stem/run", "/srv/stem/log"]).lines() == ["jobs postmen 750"] * 2
    host = plain.run(["hostname"]).stdout.strip()
    for node in ("one", "two"):
        pid = plain.read(f"/srv/stem/run/{node}-{host}.pid").strip()
        status = plain.read(f"/proc/{pid}/status")
        gid = plain.run(["getent", "group", "postmen"]).stdout.split(":")[2]
        assert f"Uid:\t{plain.uid('jobs')}\t" in status and f"Gid:\t{gid}\t" in status, status
        wait_until(lambda: f"it is {node}" in plain.read(f"/srv/stem/log/{node}.log"), what=f"{node} logs")
        assert "GREETING=hello" in plain.read(f"/proc/{pid}/environ").split("\0")
    service("stop")


def test_options_may_name_the_files_themselves_and_root_may_run_workers_as_itself(plain):
    service = Service(plain, default=f"""STEMD_NODES=a\nSTEMD_USER=""\nSTEMD_OPTS="--app {EFFECTS} --pidfile=/run/stem/x.pid """
                      """--logfile /srv/stem/x.log --workdir /srv"\n""")
    service("start")
    pid = plain.read("/run/stem/x.pid").strip()
    assert "Uid:\t0\t" in plain.read(f"/proc/{pid}/status") and plain.exists("/srv/stem/x.log")
    assert plain.run(["readlink", f"/proc/{pid}/cwd"]).stdout == "/srv\n"
    service("stop")
    service.configure(f"STEMD_USER=\nSTEMD_OPTS='--app {EFFECTS}'\n")
    service("start")
    service("stop")


def test_options_of_one_node_reach_that_node(plain):
    service = Service(plain, default=f"""STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS} -q:web-*,x mail --queue:a=other -c:nobody,web-1 3"\n""")
    service("start")
    queues = {node: plain.run(["stem", "worker", "healthcheck", "--node", node, "--json"]).json()["queues"] for node in ("a", "web-1")}
    assert queues == {"a": ["other"], "web-1": ["mail"]}, queues
    assert "/3 busy" in service("status").stdout
    service("try-restart")
    service("stop", "a")
    service("try-restart")  # web-1 alone
    assert len(service.pids()) == 1
    service("start", "a")
    service("stop")


def test_environment_files_of_all_and_of_one_node_are_read(plain):
    service = Service(plain)
    plain.write("/etc/stem/stem.env", "STEM_WORKER_QUEUES=mail\nSTEM_LOG_LEVEL=debug\n", mode=0o640, owner="root:stem")
    plain.write("/etc/stem/web-1.env", "STEM_WORKER_QUEUES=web\n", mode=0o640, owner="root:stem")
    service("start")
    queues = {node: plain.run(["stem", "worker", "healthcheck", "--node", node, "--json"]).json()["queues"] for node in ("a", "web-1")}
    assert queues == {"a": ["mail"], "web-1": ["web"]}, queues
    service("stop")
    plain.write("/etc/stem/web-1.env", "nonsense\n", mode=0o640, owner="root:stem")
    ran = service("start", rc=6)
    assert "/etc/stem/web-1.env:1: " in ran.stderr, ran.stderr
    service("status", rc=3)  # the other one runs
    assert len(service.pids()) == 1


def test_reload_takes_over_what_may_change_and_opens_the_log_anew(plain):
    service = Service(plain)
    service("start")
    pids = service.pids()
    plain.write("/etc/stem/stem.env", "STEM_WORKER_QUEUES=fresh\n", mode=0o640, owner="root:stem")
    plain.run("mv /var/log/stem/a.log /var/log/stem/a.log.1")
    service("reload")
    wait_until(lambda: plain.run(["stem", "worker", "healthcheck", "--node", "a", "--json"]).json()["queues"] == ["fresh"], what="a has reloaded")
    wait_until(lambda: plain.exists("/var/log/stem/a.log") and "reloaded" in plain.read("/var/log/stem/a.log"), what="the new log is written")
    assert service.pids() == pids
    service("stop", "a")
    service("reload")  # the one that runs
    service("stop")


def test_named_nodes_take_the_place_of_the_configured(plain):
    service = Service(plain)
    service("start", "b")
    assert len(service.pids()) == 1 and service.pid("b") in service.pids()
    service("status", "b")
    service("status", rc=3)
    service("stop", "b")


def test_a_configuration_that_others_could_have_written_is_not_run(plain):
    service = Service(plain)
    for change in ("chmod 0666", "chmod 0664", "chown stem"):
        service.configure("touch /run/taken\n")
        plain.run(f"{change} /etc/default/stem")
        ran = service("start", rc=6)
        assert "must be a file of root" in ran.stderr and not plain.exists("/run/taken"), ran.stderr
    plain.run("rm /etc/default/stem && mkdir /etc/default/stem")
    service("start", rc=6)
    plain.run("rmdir /etc/default/stem")
    service.configure("if\n")
    service("start", rc=6)


def test_exit_statuses_are_those_of_the_lsb(plain):
    service = Service(plain)
    service("frobnicate", rc=2)
    service("start", user="nobody", rc=4)
    service("start", "../x", rc=2)
    service.configure("STEMD_USER=nosuch\n")
    service("start", rc=6)
    service.configure("STEMD_OPTS='--frobnicate'\n")
    service("start", rc=2)
    service.configure("STEMD_OPTS=''\n")  # nothing to run
    service("start", rc=6)
    plain.run("mv /usr/bin/stem /usr/bin/stem.away")
    try:
        service("status", rc=5)
    finally:
        plain.run("mv /usr/bin/stem.away /usr/bin/stem")
    service.configure(f"STEMD_NODES=a\nSTEMD_OPTS='--app {EFFECTS}'\n")
    service("start")
    service("status", user="nobody")
    plain.kill(service.pid("a"))
    service("status", rc=1)
    service("start")


def test_the_callers_environment_does_not_reach_the_workers(plain):
    service = Service(plain)
    service("start", env={"STEM_WORKER_QUEUES": "stray", "STEM_BROKER_URL": "memory://x", "STEMD_NODES": "stray"})
    health = plain.run(["stem", "worker", "healthcheck", "--node", "a", "--json"]).json()
    assert health["queues"] == ["default"], health
    environ = plain.read(f"/proc/{service.pid('a')}/environ").split("\0")
    assert not [entry for entry in environ if "stray" in entry or entry.startswith("STEMD_CLEAN")], environ


def test_started_twenty_times_at_once_there_is_one_process_a_node(plain):
    service = Service(plain)
    plain.run(f"for n in $(seq 20); do {SCRIPT} start >/dev/null & done; wait", timeout=50)
    assert len(service.pids()) == 2


SCHEDULER = "/etc/init.d/stem-scheduler"


def one_scheduler(service):
    plain = service.plain

    def pids():
        return set(plain.run(["pgrep", "-f", "^stem scheduler start|^/usr/bin/stem scheduler start"], check={0, 1}).lines())

    service("status", rc=3)
    service("try-restart")
    service("reload", rc=7)
    service("start")
    (pid,) = pids()
    assert f"Uid:\t{plain.uid('stem')}\t" in plain.read(f"/proc/{pid}/status")
    assert plain.read("/run/stem/scheduler.pid").strip() == pid
    assert plain.run(["stem", "scheduler", "healthcheck", "--json"]).json()["status"] == "ok"
    service("start")
    service("status")
    assert pids() == {pid}
    service("reload")
    service("force-reload")
    assert pids() == {pid}
    service("restart")
    service("try-restart")
    (after,) = pids()
    assert after != pid
    service("stop")
    service("stop")
    assert not pids() and not plain.exists("/run/stem/scheduler.pid")
    service("status", rc=3)


@allow(seconds=120)
def test_a_scheduler_lives_and_ends_under_its_script(plain):
    one_scheduler(Service(plain, script=SCHEDULER, default="STEMD_NODES=a\nSTEMD_OPTS=-x\n"))


@allow(seconds=120)
def test_a_scheduler_lives_and_ends_under_its_script_with_red_hats_daemon_and_busyboxs_shell(plain):
    plain.run("mv /sbin/start-stop-daemon /sbin/start-stop-daemon.dpkg && mkdir -p /run/lock/subsys")
    plain.write("/etc/rc.d/init.d/functions", FUNCTIONS)
    one_scheduler(Service(plain, script=SCHEDULER, config="/etc/sysconfig/stem", shell="busybox ash"))


def test_the_schedulers_options_and_files_count(plain):
    service = Service(plain, script=SCHEDULER, default='STEMD_SCHEDULER_OPTS="--catch-up none"\n'
                      'STEMD_SCHEDULER_PID_FILE=/run/stem/s.pid\nSTEMD_SCHEDULER_LOG_FILE=/var/log/stem/s.log\n')
    plain.write("/etc/stem/scheduler.env", "STEM_LOG_LEVEL=debug\n", mode=0o640, owner="root:stem")
    service("start")
    pid = plain.read("/run/stem/s.pid").strip()
    assert "--catch-up\0none\0" in plain.read(f"/proc/{pid}/cmdline")
    assert "ready" in plain.read("/var/log/stem/s.log")
    service("stop")
    service.configure('STEMD_SCHEDULER_OPTS="--catch-up perhaps"\n')
    assert "catch-up" in service("start", rc=2).stderr
    service.configure("")
    plain.write("/etc/stem/scheduler.env", "nonsense\n", mode=0o640, owner="root:stem")
    assert "/etc/stem/scheduler.env:1: " in service("start", rc=6).stderr


def test_workers_and_scheduler_share_a_machine(plain):
    workers, scheduler = Service(plain), Service(plain, script=SCHEDULER, default=f'STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS}"\n')
    workers("start")
    scheduler("start")
    workers("stop")
    scheduler("status")
    workers("start")
    scheduler("stop")
    workers("status")
    workers("stop")


def test_tools_that_read_the_header_find_what_they_need(plain):
    Service(plain)
    if not plain.exists("/usr/sbin/update-rc.d"):
        raise Skip("update-rc.d is not installed (Debian package init-system-helpers)")
    plain.run(["update-rc.d", "stem-worker", "defaults"])
    links = plain.run("ls /etc/rc?.d/*stem-worker").lines()
    levels = {link[7] for link in links if "/S" in link}
    assert levels == set("2345") and {link[7] for link in links if "/K" in link} == set("016"), links
    plain.run(["update-rc.d", "stem-worker", "remove"])


def test_scripts_are_clean(stage):
    scripts = sorted((stage.source / "sysv").glob("stem-*"))
    assert len(scripts) >= 2
    for script in scripts:
        for checker in (["dash", "-n"], ["busybox", "ash", "-n"], ["bash", "--posix", "-n"], ["checkbashisms"], ["shellcheck"]):
            if not shutil.which(checker[0]):
                raise Skip(f"{checker[0]} is not installed")
            ran = subprocess.run([*checker, script], capture_output=True, text=True, check=False)
            assert ran.returncode == 0 and not ran.stdout and not ran.stderr, f"{checker}: {ran.stdout}{ran.stderr}"


@allow(seconds=120)
def test_where_systemd_runs_the_script_hands_over_to_the_units(box):
    """There systemd wraps a script of /etc/init.d into a service of its own: still one manager, and one worker a node."""
    try:
        service = Service(box)
        box.run(["systemctl", "daemon-reload"])
        service("start")
        pids = {node: box.properties(f"stem-worker@{node}", "MainPID", "ActiveState") for node in ("a", "web-1")}
        assert all(seen["ActiveState"] == "active" for seen in pids.values()), pids
        assert service.pids() == {seen["MainPID"] for seen in pids.values()}
        assert "running already" in service("start").stdout
        service("status")
        service("stop")
        assert not service.pids()
        box.run(["systemctl", "start", "stem-worker.service"])
        assert len(service.pids()) == 2
        box.run(["systemctl", "stop", "stem-worker.service"])
        assert not service.pids()
    finally:
        box.run(f"rm -f {SCRIPT} /etc/default/stem; systemctl daemon-reload")
