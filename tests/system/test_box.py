"""The box itself: what the other tests rely on."""

import os
import subprocess
from pathlib import Path

from box import CommandFailed, wait_until
from kernel import cgroup_mounts


def test_a_real_systemd_is_pid_1(box):
    assert box.run(["cat", "/proc/1/comm"]).stdout == "systemd\n"
    assert box.run(["systemctl", "is-system-running"]).stdout == "running\n"
    assert box.run("systemctl --version | head -n 1").stdout.startswith("systemd ")


def test_no_service_of_the_host_runs_in_it(box):
    running = box.run("systemctl list-units --type=service --state=running --plain --no-legend").lines()
    names = {line.split()[0] for line in running}
    assert names <= {"dbus.service", "systemd-journald.service", "systemd-logind.service"}, names


def test_what_is_written_in_it_does_not_reach_the_host(box):
    box.write("/etc/written-in-a-box", "x")
    assert box.read("/etc/written-in-a-box") == "x"
    assert not Path("/etc/written-in-a-box").exists()
    if os.getppid():  # 0 where this runner is PID 1 of a container, and no one is outside
        mounts = Path(f"/proc/{os.getppid()}/mounts").read_text()
        assert "stem-box" not in mounts, "mounts of the box are seen outside"


def test_it_sees_no_network_but_its_own(box):
    links = {line.split(":")[1].strip().split("@")[0] for line in box.run(["ip", "-o", "link"]).lines()}
    assert "lo" in links and not any(name.startswith(("eth", "en", "wl")) for name in links), links


def test_a_command_that_fails_says_what_it_printed(box):
    try:
        box.run("echo seen; echo why >&2; exit 3")
    except CommandFailed as error:
        assert error.ran.rc == 3 and "seen" in str(error) and "why" in str(error)
    else:
        raise AssertionError("no CommandFailed")
    assert box.run("exit 3", check=3).rc == 3


def test_a_command_that_hangs_is_ended(box):
    try:
        box.run("sleep 1234 & exec sleep 1234", timeout=0.3)
    except AssertionError as error:
        assert "still running" in str(error)
    else:
        raise AssertionError("no time-out")
    wait_until(lambda: box.run(["pgrep", "-f", "sleep 1234"], check={0, 1}).rc == 1, what="the sleepers are gone")


def test_another_user_runs_commands_with_an_environment_of_his_own(box):
    os.environ["LEAKED"] = "1"
    try:
        ran = box.run("id -un; echo ${LEAKED-clean}; echo $EXTRA", user="nobody", env={"EXTRA": "given"})
    finally:
        del os.environ["LEAKED"]
    assert ran.lines() == ["nobody", "clean", "given"]


def test_a_user_manager_runs_and_has_a_bus(box):
    env = box.linger_user("person")
    assert box.run("systemctl --user is-system-running --wait", user="person", env=env).stdout == "running\n"
    assert "org.freedesktop.systemd1" in box.run("busctl --user list", user="person", env=env).stdout


def test_the_journal_is_read_by_unit_and_from_a_place_on(box):
    box.run(["systemd-run", "--wait", "-q", "--unit=before", "echo", "one"])
    cursor = box.cursor()
    box.run(["systemd-run", "--wait", "-q", "--unit=after", "echo", "two"])
    assert any("Started after.service" in entry["MESSAGE"] for entry in box.journal("after.service", since=cursor))
    assert box.journal("before.service", since=cursor) == []


def test_a_file_and_a_tree_of_the_host_are_copied_in(box, tmp):
    (tmp / "tree/deep").mkdir(parents=True)
    (tmp / "tree/deep/file").write_text("text")
    box.copy_in(tmp / "tree", "/opt/copied")
    box.copy_in(tmp / "tree/deep/file", "/opt/file")
    assert box.read("/opt/copied/deep/file") == box.read("/opt/file") == "text"


def test_a_box_whose_maker_is_killed_leaves_nothing(box, stage, tmp):
    maker = subprocess.Popen(
        [stage.source / "tests/system/shell", stage.build, "sh", "-c", "echo up; exec sleep 600"],
        env={**os.environ, "TMPDIR": str(tmp)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert maker.stdout.readline() == "up\n"
        [directory] = tmp.glob("stem-box.*")
        cgroups = [hierarchy / directory.name for hierarchy in cgroup_mounts()]
        assert all(cgroup.is_dir() for cgroup in cgroups)
    finally:
        maker.kill()
        maker.wait()
        maker.stdout.close()
    wait_until(lambda: not directory.exists() and not any(cgroup.exists() for cgroup in cgroups), what="no trace is left")
