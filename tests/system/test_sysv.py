"""The init scripts, on a machine without systemd: with dpkg's start-stop-daemon, BusyBox's, and none; Red Hat's `daemon`."""

import contextlib
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

    def __init__(self, plain, default="", config="/etc/default/stem", script=SCRIPT):
        self.plain, self.config, self.script = plain, config, script
        plain.run(f"install -m 0755 /usr/share/stem/sysv/{script.rpartition('/')[2]} {script}")
        self.configure(default or f'STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS} -c 2"\n')

    def configure(self, text, **mode):
        self.plain.write(self.config, text, **mode)

    def __call__(self, action, *more, rc=0, **options):
        ran = self.plain.run([self.script, action, *more], check=False, timeout=60, **options)
        assert ran.rc == rc, f"{action}: exit status {ran.rc}, not {rc}\n{ran.stdout}{ran.stderr}"
        return ran

    def pids(self):
        """Of all workers, by the kernel."""
        return set(self.plain.run(["pgrep", "-f", "^/usr/bin/stem worker start"], check={0, 1}).lines())

    def pid(self, node):
        return self.plain.read(f"/run/stem/{node}.pid").strip()


@contextlib.contextmanager
def busyboxs_shell(plain):
    """/bin/sh is BusyBox's, as on Alpine: the scripts start themselves anew with it."""
    former = plain.run(["readlink", "/bin/sh"]).stdout.strip()
    plain.run("rm -f /run/shells; ln -sfn /bin/busybox /bin/sh")
    try:
        yield
    finally:
        plain.run(["ln", "-sfn", former, "/bin/sh"])


def one_life(service):
    """The whole life of two workers; every action twice."""
    plain = service.plain
    service("status", rc=3)
    service("try-restart")
    service("reload", rc=7)
    assert not plain.exists("/run/stem") and not plain.exists("/var/log/stem")  # who only asks makes nothing
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
    with busyboxs_shell(plain):
        service = Service(plain)
        service.configure(f'STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS} -c 2"\nreadlink /proc/$$/exe >>/run/shells\n')
        one_life(service)
        assert set(plain.read("/run/shells").split()) == {plain.run(["readlink", "-f", "/bin/busybox"]).stdout.strip()}


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
    assert int(plain.run(["ps", "-o", "ni=", "-p", service.pid("a")]).stdout) == int(plain.run(["nice"]).stdout) + 5
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
    service = Service(plain, default=f"""STEMD_NODES=a\nSTEMD_USER=root\nSTEMD_OPTS="--app {EFFECTS} --pidfile=/run/stem/x.pid """
                      """--logfile /srv/stem/x.log --workdir /srv"\n""")
    service("start")
    pid = plain.read("/run/stem/x.pid").strip()
    assert "Uid:\t0\t" in plain.read(f"/proc/{pid}/status") and plain.exists("/srv/stem/x.log")
    assert plain.run(["readlink", f"/proc/{pid}/cwd"]).stdout == "/srv\n"
    service("stop")
    service.configure(f"STEMD_USER=root\nSTEMD_OPTS='--app {EFFECTS}'\n")
    service("start")
    service("stop")


def test_without_a_word_on_the_user_workers_are_not_roots(plain):
    service = Service(plain, default=f"STEMD_NODES=a\nSTEMD_USER=\nSTEMD_OPTS='--app {EFFECTS}'\n")
    service("start")
    assert f"Uid:\t{plain.uid('stem')}\t" in plain.read(f"/proc/{service.pid('a')}/status")
    service("stop")
    plain.run("rm -rf /run/stem /var/log/stem /var/lib/stem")
    start = ["stem", "worker", "multi", "start", "b", "--app", EFFECTS]
    plain.run(start)
    assert f"Uid:\t{plain.uid('stem')}\t" in plain.read(f"/proc/{service.pid('b')}/status")
    assert plain.run(["stat", "-c", "%U", "/run/stem", "/var/log/stem", "/var/lib/stem"]).lines() == ["stem"] * 3
    plain.run(["stem", "worker", "multi", "stop", "b"])
    # Who asks for root is not advised to take the others' directory away.
    ran = plain.run(start, env={"STEMD_USER": "root"}, check=77)
    assert "install -d -o root" not in ran.stderr and "run the worker as stem" in ran.stderr, ran.stderr
    plain.run("rm -rf /run/stem /var/log/stem")
    plain.run(start, env={"STEMD_USER": "root"})
    assert "Uid:\t0\t" in plain.read(f"/proc/{service.pid('b')}/status")
    plain.run(["stem", "worker", "multi", "stop", "b"])


def test_a_user_who_may_not_enter_the_state_directory_works_elsewhere(plain):
    plain.run("useradd --system --no-create-home jobs 2>/dev/null; install -d -o stem -g stem -m 2770 /var/lib/stem; "
              "install -d -o jobs /srv/stem")
    service = Service(plain, default=f"STEMD_NODES=a\nSTEMD_USER=jobs\nSTEMD_OPTS='--app {EFFECTS}'\n")
    plain.write("/etc/stem/stem.env", "STEM_BROKER_URL=sqlite:///srv/stem/jobs.db\n")
    service("start")
    assert plain.run(["readlink", f"/proc/{service.pid('a')}/cwd"]).stdout.strip() != "/var/lib/stem"
    service("stop")
    plain.run("usermod --append --groups stem jobs")
    service("start")
    assert plain.run(["readlink", f"/proc/{service.pid('a')}/cwd"]).stdout.strip() == "/var/lib/stem"
    service("stop")
    plain.run("gpasswd --delete jobs stem")


def test_options_of_one_node_reach_that_node(plain):
    service = Service(plain, default=f"""STEMD_NODES="a web-1"\nSTEMD_OPTS="--app {EFFECTS} -q:web-*,x mail --queue:a=other -c:nobody,web-1 3"\n""")
    service("start")
    queues = {node: plain.run(["stem", "worker", "healthcheck", "--node", node, "--json"]).json()["queues"] for node in ("a", "web-1")}
    assert queues == {"a": ["other"], "web-1": ["mail"]}, queues
    # What a worker serves does not change where its own jobs go.
    assert "STEM_DEFAULT_QUEUE" not in plain.read(f"/proc/{service.pid('web-1')}/environ")
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


def test_a_line_that_is_wrong_does_not_keep_a_worker_from_being_stopped(plain):
    service = Service(plain)
    plain.write("/etc/stem/stem.env", "STEM_WORKER_QUEUES=mail\n", mode=0o640, owner="root:stem")
    service("start")
    pids = service.pids()
    for wrong in ("nonsense\n", 'A="never closed\n', "STEM_WORKER_CONCURRENCY=many\n", "A=\0\n"):
        plain.write("/etc/stem/stem.env", wrong, mode=0o640, owner="root:stem")
        service("status")
        service("restart", rc=6)  # it would not come up again
        service("try-restart", rc=6)
        assert service.pids() == pids
        assert "kept" in service("reload", rc=6).stderr or service.pids() == pids
    ran = service("stop")
    assert "NUL byte" in ran.stderr and not service.pids(), ran.stderr
    service("status", rc=3)


def test_where_no_worker_is_configured_nothing_is_done(plain):
    for nodes in ("''", "'  '"):
        service = Service(plain, default=f"STEMD_NODES={nodes}\nSTEMD_OPTS='--app {EFFECTS}'\n")
        service("status", rc=3)
        service("start", rc=6)
        service("restart", rc=6)
        service("try-restart")
        service("reload", rc=7)
        service("stop")
        assert not service.pids()


def test_a_number_that_the_workers_user_wrote_does_not_make_root_kill_anybody(plain):
    """The pidfile lies in a directory of that user."""
    service = Service(plain)
    service("start")
    service("stop", "a")
    bystander = plain.start(["sleep", "1000"])
    (pid,) = plain.run(["pgrep", "-x", "sleep", "-u", "root", "-n"]).lines()
    for forge in (f"echo {pid} >/run/stem/a.pid", f"rm -f /run/stem/a.pid; (echo {pid}; exec sleep 30) >/run/stem/a.pid 2>&1 </dev/null &",
                  f"rm -f /run/stem/web-1.pid; echo {pid} >/run/stem/web-1.pid"):
        plain.run(forge, user="stem", check=False)
        for action in ("status", "reload", "stop"):
            plain.run([SCRIPT, action], check=False, timeout=60)
            assert bystander.poll() is None, (forge, action)


def test_what_one_node_does_says_nothing_of_the_others_under_red_hats_rc(plain):
    plain.run("mkdir -p /run/lock/subsys")
    plain.write("/etc/rc.d/init.d/functions", FUNCTIONS)
    mark = "/var/lock/subsys/stem-worker"
    service = Service(plain, config="/etc/sysconfig/stem", default=f"STEMD_NODES='a b'\nSTEMD_OPTS='--app {EFFECTS}'\n")
    service("start")
    service("stop", "b")
    assert plain.exists(mark)  # or rc would never stop a
    service("status", "b", rc=3)
    service("status", rc=3)
    service("stop", "a")
    assert not plain.exists(mark)


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
        service("start", rc=5)
        service("status", rc=4)  # 5 and more are reserved for it
    finally:
        plain.run("mv /usr/bin/stem.away /usr/bin/stem")
    plain.run("chmod 0666 /etc/default/stem")
    service("start", rc=6)
    service("status", rc=4)
    plain.run("chmod 0644 /etc/default/stem")
    service.configure("if\n")
    service("status", rc=4)
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
    plain.run(f"for n in $(seq 20); do {SCRIPT} start >>/run/told 2>&1 & done; wait", timeout=50)
    assert len(service.pids()) == 2, plain.run("cat /run/told").stdout


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
    with busyboxs_shell(plain):
        one_scheduler(Service(plain, script=SCHEDULER, config="/etc/sysconfig/stem"))


def test_the_schedulers_options_and_files_count(plain):
    service = Service(plain, script=SCHEDULER, default='STEMD_SCHEDULER_OPTS="--catch-up none"\n'
                      'STEMD_SCHEDULER_PID_FILE=/run/stem/s.pid\nSTEMD_SCHEDULER_LOG_FILE=/var/log/stem/s.log\n')
    plain.write("/etc/stem/scheduler.env", "STEM_LOG_LEVEL=debug\n", mode=0o640, owner="root:stem")
    plain.write("/etc/stem/stem.env", "STEM_WORKER_COMMAND=/bin/sleep 1000\n", mode=0o640, owner="root:stem")  # of the workers
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
    finally:
        box.run(f"rm -f {SCRIPT} /etc/default/stem; systemctl daemon-reload")


def test_where_systemd_runs_it_makes_no_service_of_the_scripts(box):
    """They are there, enabled for its runlevels, as a package for both kinds of machines leaves them."""
    try:
        workers, scheduler = Service(box), Service(box, script=SCHEDULER)
        for script in ("stem-worker", "stem-scheduler"):
            box.run(f"for level in 2 3 4 5; do mkdir -p /etc/rc$level.d; ln -sf ../init.d/{script} /etc/rc$level.d/S01{script}; done")
        box.run(["systemctl", "daemon-reload"])
        assert not box.run("find /run/systemd/generator* -name 'stem-*'").stdout  # of the generator for scripts
        assert box.properties("stem-worker.service", "LoadState") == {"LoadState": "masked"}
        for boot in ("multi-user.target", "graphical.target"):
            assert "stem-" not in box.run(["systemctl", "list-dependencies", "--plain", boot]).stdout
        ran = box.run(["systemctl", "start", "stem-worker.service"], check={1, 5})
        assert "masked" in ran.stderr and not workers.pids(), ran.stderr
        # Said by hand, they mean the units.
        scheduler("status", rc=3)
        scheduler("start")
        pid = box.properties("stem-scheduler", "MainPID", "ActiveState")
        assert pid["ActiveState"] == "active", pid
        scheduler("reload")
        scheduler("status")
        scheduler("stop")
        assert box.properties("stem-scheduler", "ActiveState") == {"ActiveState": "inactive"}
        workers.configure(f"STEMD_NODES=a\nSTEMD_USER=daemon\nSTEMD_OPTS='--app {EFFECTS}'\n")
        assert "User=" in workers("start", rc=6).stderr and not workers.pids()
        workers.configure(f"STEMD_NODES=a\nSTEMD_OPTS='--app {EFFECTS}'\n")
        workers("start")
        assert "--logfile" not in box.run(["systemctl", "cat", "stem-worker@a"]).stdout  # the journal has it
        assert any("ready" in entry["MESSAGE"] for entry in box.journal("stem-worker@a"))
        workers("stop")
    finally:
        box.run(f"rm -f {SCRIPT} {SCHEDULER} /etc/default/stem /etc/rc?.d/S01stem-*; systemctl daemon-reload")
