"""A throw-away machine: a real systemd as PID 1, over a copy-on-write view of this machine's root.

Nothing that happens in a box reaches the host: the root is an overlay whose upper layer is a tmpfs, mounts are made
in a private mount namespace, the network is a private loopback. A box ends with the process that made it, however that
process ends, and leaves nothing behind. Several boxes can run at the same time.

Python's standard library only. Needs root, systemd-nspawn (systemd-container) and nsenter (util-linux).
"""

import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

from command import CommandFailed, Ran, execute, kill_group  # noqa: F401  (tests import them from here)
from kernel import (Unavailable, after_death, cgroup_mounts, make_cgroup, mount, private_directory, private_mounts,
                    remove_cgroup, sweep)

PREFIX = "stem-box."
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# Kills the processes that its words name, and waits until they are over. A pidfd says so when the last thread has closed its
# descriptors; before that the command line is gone already, so `pgrep -f` finds nothing while the locks are still held.
KILL = """
import os, select, signal, sys
for pidfd in [os.pidfd_open(int(pid)) for pid in sys.argv[1:]]:
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
"""


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def allow(seconds):
    """Decorates a test that may take another time than 60 s."""

    def mark(function):
        function.allowed_seconds = seconds
        return function

    return mark


def wait_until(condition, deadline=10.0, what=None, interval=0.02):
    """Calls `condition` until it returns something true, and returns that. AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(interval)


def unavailable():
    """Why no box can be made here, or None. Cheap: nothing is mounted."""
    if os.geteuid() != 0:
        return "needs root: a box mounts file systems and boots a system manager"
    for program, package in (("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
        if not shutil.which(program, path=PATH):
            return f"{program} is not installed (Debian package {package})"
    if not any(os.access(path, os.X_OK) for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")):
        return "systemd is not installed (Debian package systemd)"
    if not cgroup_mounts():
        return "no control group hierarchy that systemd can use is mounted under /sys/fs/cgroup"
    return None


def remove_traces(directory):
    """Of a box that was killed together with what watched over it. Its mounts went with its last process."""
    for hierarchy in cgroup_mounts():
        remove_cgroup(hierarchy / directory.name)
    os.rmdir(directory / "fs")
    os.rmdir(directory)


class Box:
    """One booted machine. Use as a context manager, or call boot() and close()."""

    def __init__(self, layers=(), binds=None, shared=(), hostname="box"):
        """`layers`: directories whose content is unpacked over the host's root (an installed tree, say). `binds`: host
        directories shown read-only in the box, by their place there. `shared`: host directories that are at their own place
        in the box, where what it writes stays."""
        self.layers = [Path(layer) for layer in layers]
        self.binds = dict(binds or {})
        self.shared = [Path(directory) for directory in shared]
        self.hostname = hostname
        self.leader = None  # the host's pid of the box's PID 1
        self.boot_seconds = None
        self._nspawn = None
        self._directory = None
        self._lock = None
        self._call_off = None
        self._cgroups = []
        self._background = []

    def __enter__(self):
        self.boot()
        return self

    def __exit__(self, *_):
        self.close()

    # ---- life ------------------------------------------------------------------------------------------------

    def boot(self, deadline=60.0):
        """Throws Unavailable if this machine forbids what a box needs, AssertionError if the box does not come up."""
        reason = unavailable()
        if reason:
            raise Unavailable(reason)
        sweep(PREFIX, remove_traces)
        began = time.monotonic()
        try:
            self._make_root()
            self._make_cgroups()
            self._call_off = after_death(self._remove)
            self._start()
            self._await_boot(deadline)
        except BaseException:
            self.close()
            raise
        self.boot_seconds = time.monotonic() - began

    def close(self, deadline=10.0):
        """Powers the box off, by force after `deadline` seconds, and removes every trace. Safe to call twice."""
        self._end_background()
        if self._nspawn:
            if self.leader and self._nspawn.poll() is None:
                try:
                    os.kill(self.leader, signal.SIGRTMIN + 4)  # poweroff.target, see systemd(1)
                    self._nspawn.wait(deadline)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
            if self._nspawn.poll() is None:
                self._nspawn.kill()
            self._nspawn.wait()
            self._nspawn = self.leader = None
        if self._call_off:
            self._call_off()
            self._call_off = None
        self._remove()

    def _remove(self):
        """All that a box leaves on the host once it is off; what still runs of it is killed."""
        for cgroup in self._cgroups:
            remove_cgroup(cgroup)
        self._cgroups.clear()
        if self._directory:
            fs = self._directory / "fs"
            for place in (fs / "root", fs):
                if os.path.ismount(place):
                    subprocess.run(["umount", "-l", place], check=True)
            for directory in (fs, self._directory):
                if directory.exists():
                    os.rmdir(directory)
            self._directory = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_root(self):
        private_mounts()
        self._directory, self._lock = private_directory(PREFIX)
        fs = self._directory / "fs"
        fs.mkdir()
        mount("stem-box", fs, "tmpfs", 0, "mode=0755")
        for name in ("upper", "work", "root"):
            (fs / name).mkdir()
        self._dress(fs / "upper", self.hostname)
        mount("stem-box", fs / "root", "overlay", 0, f"lowerdir=/,upperdir={fs}/upper,workdir={fs}/work")
        for layer in self.layers:
            self._unpack(layer, fs / "root")

    @staticmethod
    def _unpack(layer, root):
        """As dpkg would: /lib stays the link that it is, and no link leads out of the box."""
        pack = subprocess.Popen(["tar", "-C", layer, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["chroot", root, "tar", "-C", "/", "-x", "--keep-directory-symlink", "--no-overwrite-dir",
                        "--same-owner"], stdin=pack.stdout, check=True)
        pack.stdout.close()
        if pack.wait():
            raise OSError(f"cannot read {layer}")

    @staticmethod
    def _dress(upper, hostname):
        """What makes the copy a machine of its own: no service or log of the host's, another identity."""

        def replace(directory):
            path = upper / directory
            path.mkdir(parents=True, exist_ok=True)
            os.setxattr(path, "trusted.overlay.opaque", b"y")
            return path

        def hide(path):
            if os.path.lexists("/" + path):
                (upper / path).parent.mkdir(parents=True, exist_ok=True)
                os.mknod(upper / path, stat.S_IFCHR, os.makedev(0, 0))

        units = replace("etc/systemd/system")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        for unit in ("getty.target", "console-getty.service", "systemd-ask-password-wall.path"):
            (units / unit).symlink_to("/dev/null")
        replace("etc/systemd/user")
        for level in "0123456S":
            replace(f"etc/rc{level}.d")
        replace("var/log/journal")
        for path in ("etc/stem", "var/lib/stem", "var/log/stem", "var/cache/stem"):
            hide(path)
        journald = upper / "etc/systemd/journald.conf.d/50-box.conf"
        journald.parent.mkdir(parents=True)
        journald.write_text("[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSystemMaxUse=256M\n")
        (upper / "etc/machine-id").write_text(secrets.token_hex(16) + "\n")
        (upper / "etc/hostname").write_text(hostname + "\n")

    def _make_cgroups(self):
        for hierarchy in cgroup_mounts():
            cgroup = hierarchy / self._directory.name
            make_cgroup(cgroup)
            self._cgroups.append(cgroup)

    def _start(self):
        cgroups = [str(cgroup / "cgroup.procs") for cgroup in self._cgroups]

        def enter():
            for procs in cgroups:
                with open(procs, "w") as file:
                    file.write("0")

        binds = [f"--bind-ro={host}:{place}" for place, host in self.binds.items()]
        binds += [f"--bind={directory}" for directory in self.shared]
        with open(self._directory / "fs/console", "wb") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "-q", "-D", self._directory / "fs/root", "-M", self._directory.name.replace("_", "0"),
                 f"--hostname={self.hostname}", "--private-users=no", "--register=no", "--keep-unit",
                 "--private-network", "--link-journal=no", *binds, "-b"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, preexec_fn=enter,
                env={"PATH": PATH, "LANG": "C.UTF-8"})

    def _await_boot(self, deadline):
        end = time.monotonic() + deadline

        def still_there():
            if self._nspawn.poll() is not None or time.monotonic() > end:
                console = (self._directory / "fs/console").read_text(errors="replace")
                raise AssertionError(f"the box did not boot within {deadline} s:\n{console[-4000:]}")

        while self.leader is None:
            still_there()
            self.leader = self._find_leader()
            time.sleep(0.01)
        while not (Path(f"/proc/{self.leader}/root/run/systemd/private").exists()):
            still_there()
            time.sleep(0.01)
        state = self.run(["systemctl", "is-system-running", "--wait"], check=False,
                         timeout=max(1.0, end - time.monotonic()))
        if state.stdout.strip() != "running":
            failed = self.run(["systemctl", "--failed", "--no-legend", "--plain"], check=False).stdout
            raise AssertionError(f"the box booted into the state '{state.stdout.strip()}'{state.stderr}\n{failed}")

    def _find_leader(self):
        """The child of systemd-nspawn that is PID 1 of its own namespace and has become systemd."""
        try:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            for pid in children:
                status = Path(f"/proc/{pid}/status").read_text()
                inner = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
                if inner == "1" and Path(os.readlink(f"/proc/{pid}/exe")).name == "systemd":
                    return int(pid)
        except (OSError, StopIteration):
            pass
        return None

    # ---- commands --------------------------------------------------------------------------------------------

    def enter_command(self, command, user=None, env=None, cwd="/"):
        """The host's command line that runs `command` in the box: a list as it is, a string through `sh -c`. The
        environment is a fresh one plus `env`."""
        if isinstance(command, str):
            command = ["sh", "-c", command]
        if user and user != "root":
            command = ["sh", "-c", 'exec setpriv --reuid="$0" --regid="$(id -g "$0")" --init-groups -- "$@"', user,
                       *command]
        variables = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": self.home(user), "USER": user or "root",
                     "LOGNAME": user or "root", **(env or {})}
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "env", "-i", f"--chdir={cwd}",
                *(f"{key}={value}" for key, value in variables.items()), *map(str, command)]

    def run(self, command, *, check=True, user=None, env=None, input=None, timeout=30.0, cwd="/"):
        """Runs a command in the box to its end. check: True = only status 0, a number or a set = only those, False =
        any; otherwise CommandFailed. `input` is its standard input (empty without)."""
        ran = execute(self.enter_command(command, user, env, cwd), input=input, timeout=timeout)
        ran.command = command
        allowed = {0} if check is True else {check} if type(check) is int else check
        if allowed is not False and ran.rc not in allowed:
            raise CommandFailed(ran)
        return ran

    def start(self, command, *, user=None, env=None, cwd="/", **popen):
        """Starts a command in the box and returns its subprocess.Popen (that of nsenter); killed when the test ends."""
        process = subprocess.Popen(self.enter_command(command, user, env, cwd), stdin=subprocess.DEVNULL,
                                   start_new_session=True, text=True, **popen)
        self._background.append(process)
        return process

    def kill(self, *pids):
        """Kills processes of the box with SIGKILL and returns when they are over, with their locks."""
        self.run(["python3", "-c", KILL, *map(str, pids)])

    def home(self, user):
        if not user or user == "root":
            return "/root"
        line = execute(["nsenter", "-t", str(self.leader), "-m", "-r", "getent", "passwd", user]).stdout
        return line.split(":")[5] if line else "/"

    # ---- files -----------------------------------------------------------------------------------------------

    def read(self, path):
        return self.run(["cat", "--", path]).stdout

    def write(self, path, text, mode=0o644, owner="root:root"):
        """Writes a file, and the directories above it."""
        self.run(["sh", "-c", 'mkdir -p -- "$(dirname -- "$0")" && cat >"$0" && chmod "$1" -- "$0" && '
                  'chown "$2" -- "$0"', path, f"{mode:o}", owner], input=text)

    def copy_in(self, source, path):
        """Copies a file or a tree of the host into the box."""
        source = Path(source)
        archive = subprocess.Popen(["tar", "-C", source.parent, "-c", source.name], stdout=subprocess.PIPE)
        unpack = subprocess.run(
            self.enter_command(["sh", "-c", 'set -e; d=$(mktemp -d); tar -C "$d" -xof -; mkdir -p "$(dirname "$1")"; '
                                'rm -rf "$1"; mv -T "$d/$0" "$1"; rmdir "$d"', source.name, str(path)]),
            stdin=archive.stdout, capture_output=True, text=True, timeout=60, check=False)
        archive.stdout.close()
        if archive.wait() or unpack.returncode:
            raise AssertionError(f"cannot copy {source} into the box: {unpack.stderr}")

    def exists(self, path):
        return self.run(["test", "-e", path], check={0, 1}).rc == 0

    # ---- systemd ---------------------------------------------------------------------------------------------

    def properties(self, unit, *names, user=None):
        """Properties of a unit as systemctl shows them: a dictionary of strings."""
        command = ["systemctl", *self._manager(user), "show", unit, *(f"--property={name}" for name in names)]
        lines = self.run(command, user=user, env=self._user_env(user)).lines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def wait_for_unit(self, unit, state="active", deadline=15.0, user=None):
        """Waits until ActiveState (or `active/running`: ActiveState/SubState) is `state`; returns MainPID as seen in
        the box. Fails with the unit's log."""

        def reached():
            now = self.properties(unit, "ActiveState", "SubState", "MainPID", user=user)
            seen.update(now)
            return state in (now["ActiveState"], f"{now['ActiveState']}/{now['SubState']}")

        seen = {}
        try:
            wait_until(reached, deadline, f"{unit} is {state}")
        except AssertionError as error:
            log = "\n".join(entry.get("MESSAGE") or "" for entry in self.journal(unit)[-20:])
            raise AssertionError(f"{error}; it is {seen}\n{log}") from None
        return int(seen["MainPID"])

    def journal(self, unit=None, *matches, since=None):
        """Journal entries as dictionaries, oldest first. `since`: a cursor() taken earlier."""
        command = ["journalctl", "--quiet", "--output=json", "--all", "--no-pager"]
        if unit:
            command.append(f"--unit={unit}")
        if since:  # not --after-cursor: with a filter, it loses the first entry (systemd 252)
            command.append(f"--cursor={since}")
        self.run(["journalctl", "--sync"])
        entries = [json.loads(line) for line in self.run([*command, *matches]).lines() if line]
        return [entry for entry in entries if entry["__CURSOR"] != since]

    def cursor(self):
        """Where the journal ends now."""
        return self.run("journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p'").stdout.strip()

    def linger_user(self, name):
        """Makes a user whose service manager runs (as after a log-in), and returns the environment that its programs
        need: XDG_RUNTIME_DIR, and the bus's address."""
        if self.run(["id", name], check=False).rc:
            self.run(["useradd", "--create-home", "--shell", "/bin/sh", name])
        self.run(["loginctl", "enable-linger", name])
        self.run(["systemctl", "start", f"user@{self.uid(name)}.service"])
        return self._user_env(name)

    def uid(self, name):
        return int(self.run(["id", "-u", name]).stdout)

    def _user_env(self, user):
        if not user or user == "root":
            return {}
        runtime = f"/run/user/{self.uid(user)}"
        return {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}

    @staticmethod
    def _manager(user):
        return ["--user"] if user and user != "root" else []

    # ---- between tests ---------------------------------------------------------------------------------------

    def _end_background(self):
        for process in self._background:
            if process.poll() is None:
                kill_group(process)
        self._background.clear()

    def snapshot(self):
        """Remembers the configuration that reset() puts back."""
        self.run("rm -rf /run/box && mkdir -p /run/box/stem && cp -a /etc/stem/. /run/box/stem/ 2>/dev/null || true")

    def reset(self):
        """Ends what a test started and forgets what it wrote: background commands, stem units with their drop-ins and
        failures, queues, logs, /etc/stem."""
        self._end_background()
        self.run(r"""
            units=$(systemctl list-units --all --plain --no-legend 'stem*.socket' 'stem*.service' 'stem*.target' | cut -d' ' -f1)
            if [ -n "$units" ]; then
                systemctl kill --signal=KILL $units 2>/dev/null
                systemctl stop $units 2>/dev/null
                systemctl reset-failed $units 2>/dev/null
            fi
            set -- /run/systemd/system/stem* /run/systemd/system.control/stem* /etc/systemd/system/stem* \
                /etc/systemd/system/*.wants/stem*
            changed=
            for path; do [ -e "$path" ] || [ -L "$path" ] && { rm -rf "$path"; changed=1; }; done
            [ -z "$changed" ] || systemctl daemon-reload
            rm -rf /var/lib/stem/* /var/log/stem/* /run/stem/* /etc/credstore/stem.* /etc/credstore.encrypted/stem.*
            if [ -d /etc/stem ]; then
                find /etc/stem -mindepth 1 -delete
                cp -a /run/box/stem/. /etc/stem/
            fi
            true""", timeout=60)
