"""Workers in a box, as an operator handles them: what the tests of units and of `stem worker multi` share."""

from box import wait_until

EFFECTS = "/usr/src/stem-build/tests/modules/libeffects.so"
BROKER = "sqlite:///var/lib/stem/stem.db"


class Workers:
    """`stem worker multi` and jobs, in `box`; as root unless another user is named."""

    def __init__(self, box, user=None, env=None):
        self.box, self.user, self.env = box, user, env

    def multi(self, *words, check=0, timeout=60.0):
        return self.box.run(["stem", "worker", "multi", *words], check=check if isinstance(check, set) else {check}, user=self.user, env=self.env, timeout=timeout)

    def start(self, *words, app=EFFECTS, **more):
        return self.multi("start", *words, "--app", app, **more)

    def status(self, *nodes, check=0):
        """By node."""
        return {node["node"]: node for node in self.multi("status", *nodes, "--json", check=check).json()["nodes"]}

    def health(self, node, check=0):
        ran = self.box.run(["stem", "worker", "healthcheck", "--node", node, "--json"], check={check}, user=self.user, env=self.env)
        return ran.json()

    def enqueue(self, task, args="{}", *words):
        return self.box.run(["stem", "enqueue", task, "--args", args, *words], user="stem", env={"STEM_BROKER_URL": BROKER}).stdout

    def left(self):
        queues = self.box.run(["stem", "queues", "--json"], user="stem", env={"STEM_BROKER_URL": BROKER}).json()
        return sum(queue["ready"] + queue["delayed"] + queue["leased"] for queue in queues)

    def pid(self, node):
        return int(self.box.properties(f"stem-worker@{node}", "MainPID")["MainPID"])

    def drop_in(self, text, unit="stem-worker@.service"):
        """An administrator's drop-in for all instances, or for one."""
        self.box.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.box.run(["systemctl", "daemon-reload"])

    def processes(self, node):
        """Everything in the unit's control group, as pids."""
        out = self.box.run(f"systemctl show -p ControlGroup --value stem-worker@{node}").stdout.strip()
        if not out:
            return []
        return self.box.run(f"cat $(ls -d /sys/fs/cgroup/systemd{out} /sys/fs/cgroup{out} 2>/dev/null | head -n 1)/cgroup.procs",
                            check={0, 1}).lines()

    def replaced(self, node, pid, deadline):
        """Waits until another process than `pid` is the ready worker."""
        wait_until(lambda: self.box.properties(f"stem-worker@{node}", "ActiveState", "MainPID") not in (
            {"ActiveState": "active", "MainPID": str(pid)},) and self.box.properties(
                f"stem-worker@{node}", "ActiveState")["ActiveState"] == "active" and self.pid(node) != pid,
            deadline, f"{node} has been replaced")
