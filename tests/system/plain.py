"""A throw-away machine without systemd: PID 1 only reaps. Its own root, /run, /var, processes and loopback."""

import os
import signal
import subprocess
import time
from pathlib import Path

from box import PATH, Box, wait_until
from command import execute

# Runs in fresh namespaces, as root of the host: $1 is the root of the machine, $2… are MODE:HOST=PLACE binds.
START = """
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=0755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
for bind; do
  place=${bind#*=} host=${bind%%=*}
  mkdir -p "$root/$place"
  mount --bind -o "${host%%:*}" "${host#*:}" "$root/$place"
done
ip link set lo up
hostname plain
exec env -i PATH="$PATH" chroot "$root" /bin/sh -c 'trap : TERM INT HUP; while :; do sleep 3600 & wait $!; done'
"""


class Plain(Box):
    """As Box; `systemctl` and the journal answer nothing here."""

    def _start(self):
        cgroups = [str(cgroup / "cgroup.procs") for cgroup in self._cgroups]

        def enter():
            for procs in cgroups:
                Path(procs).write_text("0")

        binds = [f"ro:{host}={place}" for place, host in self.binds.items()]
        binds += [f"rw:{directory}={directory}" for directory in self.shared]
        with open(self._directory / "fs/console", "wb") as console:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child", "sh", "-c", START, "sh",
                 self._directory / "fs/root", *binds],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, preexec_fn=enter,
                env={"PATH": PATH, "LANG": "C.UTF-8"})

    def _await_boot(self, deadline):
        end = time.monotonic() + deadline

        def leader():
            console = (self._directory / "fs/console").read_text(errors="replace")
            assert self._nspawn.poll() is None and time.monotonic() < end, f"the plain machine did not come up:\n{console}"
            try:
                (pid,) = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
                root = os.readlink(f"/proc/{pid}/root")
            except (OSError, ValueError):
                return None
            return int(pid) if root.endswith("/fs/root") else None

        self.leader = wait_until(leader, deadline, "PID 1 runs")
        # What a package does where there is no systemd.
        self.run("rm -rf /etc/init.d/stem-* /etc/default/stem /etc/sysconfig /etc/rc.d && ldconfig && "
                 "getent passwd stem >/dev/null || "
                 "useradd --system --home-dir /var/lib/stem --shell /usr/sbin/nologin stem")

    def close(self, deadline=0.0):
        if self._nspawn and self._nspawn.poll() is None and self.leader:
            os.kill(self.leader, signal.SIGKILL)  # and with it all others
        super().close(deadline)

    def reset(self):
        """Ends every process but PID 1, and forgets what a test wrote where Stem's files are."""
        super()._end_background()
        # And waits until they are over, for one that is being killed still counts as running and holds its locks.
        execute(self.enter_command(["sh", "-c", """
            cd /proc; set -- [0-9]*; kill -KILL -1
            for pid; do
                [ $pid -eq 1 ] || [ $pid -eq $$ ] || while grep -qs '^State:.[^ZX]' $pid/status; do sleep 0.01; done
            done"""]), timeout=30)
        self.run("if [ -e /sbin/start-stop-daemon.dpkg ]; then mv -f /sbin/start-stop-daemon.dpkg /sbin/start-stop-daemon; fi\n"
                 "rm -rf /run/stem /var/lib/stem /var/cache/stem /var/log/stem /etc/stem /etc/default/stem /etc/sysconfig /etc/rc.d "
                 "/etc/init.d/stem-worker /etc/init.d/stem-scheduler /var/lock/subsys /run/lock/subsys /srv/stem")

    def journal(self, *_, **__):
        return []
