"""`stem worker diagnose`, with a real systemd that a test breaks in one place; and secrets, which no output repeats."""

import json
import os
import re
import signal
import subprocess

from box import Skip, allow, execute, wait_until
from workers import EFFECTS, Workers

# Which secrets workers get is an administrator's drop-in, as it is shipped.
CREDENTIALS = "/usr/share/stem/drop-ins/credentials.conf"


class Diagnosis:
    """What `stem worker diagnose --json` says of a node."""

    def __init__(self, box, node="a", *words, check={0, 1}, user=None):
        self.ran = box.run(["stem", "worker", "diagnose", "--node", node, "--json", *words], check=check, user=user)
        self.all = self.ran.json()
        self.checks = {one["id"]: one for one in self.all["checks"]}
        errors = any(one["status"] == "error" for one in self.all["checks"])
        assert self.ran.rc == int(errors), self.ran.stdout

    def complaints(self):
        """Ids of what is not fine; a box has no time service and enables nothing."""
        return [one["id"] for one in self.all["checks"] if one["status"] != "ok" and one["id"] not in ("clock", "boot")]

    def finds(self, name, status, text):
        one = self.checks[name]
        assert one["status"] == status and text in one["finding"] and one["fix"] and one["section"], one
        return one


def test_a_healthy_worker_has_no_complaint(box):
    Workers(box).start("a")
    diagnosis = Diagnosis(box)
    assert diagnosis.complaints() == [], diagnosis.all["checks"][:3]
    assert diagnosis.all["unit"] == "stem-worker@a.service" and diagnosis.all["supervisor"] == "systemd"
    fine = [one for one in diagnosis.all["checks"] if one["status"] == "ok" and not one["skipped"]]
    assert len(fine) >= 30, [one["id"] for one in fine]
    assert ": 0 ready, 0 dead" in diagnosis.checks["broker"]["finding"]
    assert "is locked by process" in diagnosis.checks["pidfile"]["finding"]
    assert "tasks)" in diagnosis.checks["modules"]["finding"]
    assert "files may be open" in diagnosis.checks["open-files"]["finding"]
    assert "last sign of progress" in diagnosis.checks["watchdog"]["finding"]
    assert "50-stem-multi.conf" in diagnosis.checks["drop-ins"]["finding"]


def test_the_sections_it_names_are_in_the_manual(box, stage):
    page = (stage.source / "man/stem-daemonization.7").read_text()
    sections = {line[4:].strip('"') for line in page.splitlines() if line.startswith(".Sh ")}
    named = {one["section"] for one in Diagnosis(box).all["checks"]}
    assert named <= sections, named - sections


def test_a_node_that_was_never_started(box):
    diagnosis = Diagnosis(box)
    diagnosis.finds("worker", "error", "does not run")
    diagnosis.finds("work", "error", "nothing to run")
    assert diagnosis.complaints() == ["work", "worker"], diagnosis.complaints()


def test_a_configuration_that_the_worker_refused(box):
    workers = Workers(box)
    box.write("/etc/stem/a.env", "STEM_WORKER_CONCURRENCY=many\n", mode=0o640, owner="root:stem")
    workers.multi("start", "a", "--app", EFFECTS, check=78)
    diagnosis = Diagnosis(box)
    diagnosis.finds("settings", "error", "STEM_WORKER_CONCURRENCY='many'")
    state = diagnosis.finds("unit-state", "error", "failed: exit-code 78 (configuration)")
    assert "must be a whole number" in state["finding"], state


def test_a_masked_unit(box):
    box.run(["systemctl", "mask", "stem-worker@a.service"])
    diagnosis = Diagnosis(box)
    fix = diagnosis.finds("unit-masked", "error", "masked")["fix"]
    assert "systemctl unmask stem-worker@a.service" in fix, fix


def test_a_unit_that_is_not_installed(box):
    unit = box.run("ls /usr/lib/systemd/system/stem-worker@.service /lib/systemd/system/stem-worker@.service 2>/dev/null | head -n 1",
                   check=False).stdout.strip()
    box.run(f"mv {unit} /tmp/kept && systemctl daemon-reload")
    try:
        Diagnosis(box).finds("unit-file", "error", "not installed")
    finally:
        box.run(f"mv /tmp/kept {unit} && systemctl daemon-reload")


def test_a_copy_of_the_unit_a_stale_manager_and_a_bad_line(box):
    workers = Workers(box)
    workers.start("a")
    box.run("cp /lib/systemd/system/stem-worker@.service /etc/systemd/system/")
    box.run(["systemctl", "daemon-reload"])
    diagnosis = Diagnosis(box)
    diagnosis.finds("unit-override", "warning", "/etc/systemd/system/stem-worker@.service hides the installed")
    assert diagnosis.complaints() == ["unit-override"]
    box.run("echo '# changed' >> /etc/systemd/system/stem-worker@.service && touch -d '+1 hour' /etc/systemd/system/stem-worker@.service")
    Diagnosis(box).finds("daemon-reload", "warning", "have changed")
    box.run("printf '[Service]\\nType=notify\\n' > /etc/systemd/system/stem-worker@.service && systemctl daemon-reload && systemctl stop stem-worker@a")
    box.run(["systemctl", "revert", "stem-worker@a"], check=False)
    Diagnosis(box).finds("unit-file", "error", "cannot be loaded")


def test_what_a_drop_in_undoes(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nType=simple\nRestart=no\nRuntimeDirectoryPreserve=no\nLimitNOFILE=1024\n"
                    "PIDFile=/run/stem/else.pid\nStandardOutput=append:/var/log/stem/a.log\nUser=root\n"
                    "[Unit]\nStartLimitIntervalSec=10\n")
    box.write("/etc/stem/stem.env", f"STEM_WORKER_APP={EFFECTS}\n")
    diagnosis = Diagnosis(box)
    for name, status, text in (("readiness", "error", "Type=simple"), ("restart-policy", "warning", "Restart=no"),
                               ("runtime-preserve", "error", "Preserve=no"),
                               ("open-files", "warning", "1024"), ("unit-pidfile", "warning", "/run/stem/else.pid"),
                               ("standard-output", "warning", "append:"), ("user", "warning", "as root"),
                               ("start-limit", "warning", "never reached")):
        diagnosis.finds(name, status, text)
    box.run("chmod 0666 /etc/systemd/system/stem-worker@.service.d/test.conf")
    Diagnosis(box).finds("drop-ins", "error", "can be written by others")


def test_a_worker_without_a_watchdog(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nWatchdogSec=0\n")
    workers.start("a")
    diagnosis = Diagnosis(box)
    diagnosis.finds("watchdog", "warning", "no watchdog")
    assert diagnosis.complaints() == ["watchdog"], diagnosis.complaints()


def test_a_crash_loop_that_reached_the_limit(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nRestartSec=50ms\nExecStart=\nExecStart=/bin/false\n")
    workers.multi("start", "a", check=1)
    wait_until(lambda: box.properties("stem-worker@a", "ActiveState")["ActiveState"] == "failed", 10, "systemd gives up")
    diagnosis = Diagnosis(box)
    diagnosis.finds("start-limit", "error", "systemd leaves it alone")
    diagnosis.finds("unit-state", "error", "failed: ")
    diagnosis.finds("restarts", "warning", "5 times")


def test_users_and_directories_that_are_missing(box):
    workers = Workers(box)
    workers.drop_in("[Service]\nUser=nosuch\nGroup=nosuch\n")
    Diagnosis(box).finds("user", "error", "no user nosuch")
    workers.drop_in("[Service]\nGroup=nosuch\n")
    Diagnosis(box).finds("group", "error", "no group nosuch")
    workers.drop_in("[Service]\nWorkingDirectory=/nowhere\n")
    Diagnosis(box).finds("working-directory", "error", "/nowhere")
    workers.drop_in("[Service]\n")
    box.run("mv /var/lib/stem /var/lib/moved && install -d -o daemon /var/lib/stem")
    try:
        Diagnosis(box).finds("state-directory", "error", "belongs to daemon")
    finally:
        box.run("rm -rf /var/lib/stem && mv /var/lib/moved /var/lib/stem")


def test_a_queue_that_root_made_is_found_before_the_worker_fails(box):
    workers = Workers(box)
    workers.start("a")
    box.run("systemctl stop stem-worker@a && chown root:root /var/lib/stem/stem.db* && chmod 0600 /var/lib/stem/stem.db*")
    fix = Diagnosis(box).finds("broker", "error", "stem.db")["fix"]
    assert "made by root" in fix, fix


def test_a_program_in_a_home_directory_is_hidden_by_the_sandbox(box):
    workers = Workers(box)
    box.write("/home/me/worker.sh", "#!/bin/sh\nsleep 1000\n", mode=0o755)
    workers.multi("start", "a", "--command", "/home/me/worker.sh", check=set(range(256)))
    Diagnosis(box).finds("sandbox", "error", "/home/me/worker.sh is hidden from the worker by ProtectHome=yes")


def test_a_log_file_outside_of_the_sandbox(box):
    box.write("/etc/stem/a.env", f"STEM_WORKER_APP={EFFECTS}\nSTEM_WORKER_LOGFILE=/srv/%n.log\n")
    Diagnosis(box).finds("sandbox", "error", "log file /srv/a.log is read-only")


def test_an_init_script_beside_the_units(box):
    box.write("/etc/init.d/stem-worker", "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: stem-worker\n# Required-Start:\n"
              "# Required-Stop:\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\nexit 0\n", mode=0o755)
    mask = box.run(["systemctl", "show", "--property=FragmentPath", "--value", "stem-worker.service"]).stdout.strip()
    assert box.run(["readlink", mask]).stdout == "/dev/null\n", mask
    box.run(["rm", mask])  # as it would be without what Stem installs against it
    box.run(["systemctl", "daemon-reload"])
    try:
        Diagnosis(box).finds("sysv-twin", "warning", "/etc/init.d/stem-worker is installed beside the units")
        box.run(["systemctl", "start", "stem-worker.service"])
        if box.run(["systemctl", "is-active", "stem-worker.service"], check=False).rc == 0:
            Diagnosis(box).finds("sysv-twin", "error", "it is active")
    finally:
        box.run(f"systemctl stop stem-worker.service; rm /etc/init.d/stem-worker; ln -s /dev/null {mask}; systemctl daemon-reload")


def test_a_worker_that_is_stopped_by_a_signal(box):
    workers = Workers(box)
    workers.start("a")
    pid = workers.pid("a")
    box.run(["kill", "-STOP", str(pid)])
    try:
        diagnosis = Diagnosis(box)
        diagnosis.finds("process-state", "error", f"process {pid} is stopped")
        diagnosis.finds("control-socket", "error", "did not answer")
        diagnosis.finds("worker", "error", "stopped by a signal")
    finally:
        box.run(["kill", "-CONT", str(pid)])


def test_a_worker_that_outlived_an_upgrade(box):
    workers = Workers(box)
    workers.start("a")
    box.run("cp /usr/bin/stem /usr/bin/stem.new && mv /usr/bin/stem.new /usr/bin/stem")
    found = Diagnosis(box)
    found.finds("process-program", "warning", "as it was before it was replaced")
    workers.multi("restart", "a")
    assert Diagnosis(box).complaints() == []


def test_settings_that_changed_since_the_start(box):
    workers = Workers(box)
    workers.start("a")
    box.write("/etc/stem/stem.env", "STEM_LOG_LEVEL=debug\n")
    box.run("touch -d '+1 hour' /etc/stem/stem.env")
    Diagnosis(box).finds("stale-settings", "warning", "/etc/stem/stem.env has changed")


def test_a_node_that_was_started_twice_once_without_systemd(box):
    workers = Workers(box, env={"STEMD_USER": "stem", "STEM_BROKER_URL": "sqlite:///var/lib/stem/stem.db"})
    by_hand = ["--supervisor", "start-stop-daemon", "--runtime-dir", "/run/stem"]
    workers.multi("start", "a", *by_hand, "--app", EFFECTS, "--pidfile", "/run/stem/other-%n.pid")
    try:
        # The node is found as it was started.
        diagnosis = Diagnosis(box)
        assert diagnosis.all["unit"] is None and "other-a.pid is locked by process" in diagnosis.checks["pidfile"]["finding"]
        box.write("/etc/stem/a.env", f"STEM_WORKER_APP={EFFECTS}\nSTEM_RUNTIME_DIR=/run/stem/a\n")
        box.run(["systemctl", "start", "stem-worker@a"])
        Diagnosis(box).finds("one-supervisor", "error", "without systemd")
    finally:
        workers.multi("stop", "a", *by_hand)


@allow(seconds=90)
def test_a_person_learns_what_only_root_can_tell_and_about_lingering(box):
    workers = Workers(box)
    workers.start("a")
    box.linger_user("person")
    diagnosis = Diagnosis(box, "a", "--system", user="person")
    diagnosis.finds("caller", "warning", "person, who cannot find out what stem may do")
    assert diagnosis.checks["broker"]["skipped"] and diagnosis.checks["modules"]["skipped"]
    env = {"XDG_RUNTIME_DIR": f"/run/user/{box.uid('person')}"}
    own = box.run(["stem", "worker", "diagnose", "--user", "--node", "own", "--json"], user="person", env=env, check={1}).json()
    linger = next(one for one in own["checks"] if one["id"] == "linger")
    assert linger["status"] == "ok" and not linger["skipped"], linger
    box.run("rm /var/lib/systemd/linger/person")
    try:
        own = box.run(["stem", "worker", "diagnose", "--user", "--node", "own", "--json"], user="person", env=env, check={1}).json()
        linger = next(one for one in own["checks"] if one["id"] == "linger")
        assert linger["status"] == "warning" and "enable-linger" in linger["fix"], linger
    finally:
        box.run("touch /var/lib/systemd/linger/person")


def test_without_systemd_every_check_that_applies_is_made(stage, tmp):
    env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run", STEM_SUPERVISOR="start-stop-daemon")
    app = str(stage.built("tests/modules/libeffects.so"))
    diagnose = ["stem", "worker", "diagnose", "--node", "w", "--json"]
    worker = subprocess.Popen(["stem", "worker", "start", "--node", "w", "--app", app, "--pidfile", f"{tmp}/run/%n.pid"],
                              env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: execute(["stem", "worker", "healthcheck", "--node", "w"], env=env).rc == 0, what="the worker is healthy")
        shown = execute([*diagnose, "--pidfile", f"{tmp}/run/w.pid"], env={**env, "STEM_WORKER_APP": app})
        assert shown.rc == 0, shown.stdout
        checks = {one["id"]: one for one in shown.json()["checks"]}
        assert "is locked by process" in checks["pidfile"]["finding"], checks["pidfile"]
        assert sum(one["status"] == "ok" and not one["skipped"] for one in checks.values()) >= 20
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        shown = execute([*diagnose, "--pidfile", f"{tmp}/run/w.pid"], env={**env, "STEM_WORKER_APP": app})
        checks = {one["id"]: one for one in shown.json()["checks"]}
        assert shown.rc == 1 and "left over" in checks["pidfile"]["finding"], checks["pidfile"]
    finally:
        worker.kill()
        worker.wait()


def test_a_command_line_that_is_wrong(stage, tmp):
    env = stage.environment(STEM_SUPERVISOR="start-stop-daemon", STEM_RUNTIME_DIR=str(tmp))
    ran = execute(["stem", "worker", "diagnose", "--node", "../x"], env=env)
    assert ran.rc == 64 and "bad node name" in ran.stderr, ran
    ran = execute(["stem", "worker", "diagnose", "--env-file", f"{tmp}/none.env"], env=env)
    assert ran.rc == 66 and "none.env" in ran.stderr, ran
    ran = execute(["stem", "worker", "diagnose", "--user", "--system"], env=env)
    assert ran.rc == 64, ran


# ---- secrets -------------------------------------------------------------------------------------------------


@allow(seconds=90)
def test_an_address_comes_as_a_credential_and_stands_nowhere_else(box):
    workers = Workers(box)
    box.run("install -d -m 0700 /etc/credstore")
    try:
        # The rest of the address is what tells that the credential was read: the queue is where it says.
        box.write("/etc/credstore/stem.broker-url", "sqlite:///var/lib/stem/from-credential.db\n", mode=0o600)
        workers.drop_in(box.read(CREDENTIALS))
        box.write("/etc/stem/stem.env", "STEM_BROKER_URL=sqlite:///var/lib/stem/left-behind.db\n")
        workers.start("a")
        assert box.exists("/var/lib/stem/from-credential.db") and not box.exists("/var/lib/stem/left-behind.db")
        pid = workers.pid("a")
        assert "from-credential" not in box.run(["systemctl", "show", "stem-worker@a"]).stdout
        assert "from-credential" not in box.run(f"tr '\\0' '\\n' < /proc/{pid}/environ; ps -ef").stdout
        diagnosis = Diagnosis(box)
        assert "from-credential" in diagnosis.checks["broker"]["finding"]
        diagnosis.finds("credentials", "warning", "the credential wins")
        box.run("chmod 0644 /etc/credstore/stem.broker-url")
        Diagnosis(box).finds("credentials", "error", "can be read by others than root")
        shown = box.run(["systemd-analyze", "security", "--no-pager", "stem-worker@a.service"]).stdout
        assert float(shown.split("Overall exposure level for stem-worker@a.service: ")[1].split()[0]) <= 1.4, shown
    finally:
        box.run("rm -rf /etc/credstore")


def test_the_units_load_every_credential_that_the_manual_lists(box, stage):
    page = (stage.source / "man/stem.env.5").read_text()
    listed = set(re.findall(r"^\.It Li (stem\.[a-z-]+)$", page, re.M))
    assert len(listed) >= 3, listed
    unit = box.run("systemctl cat stem-scheduler").stdout
    assert set(re.findall(r"^LoadCredential=(.+)$", unit, re.M)) == listed - {"stem.revoke-store-url"}
    drop_in = box.read(CREDENTIALS)
    assert set(re.findall(r"^LoadCredential=(.+)$", drop_in, re.M)) == listed - {"stem.schedule-store-url", "stem.signing-private-keys"}


@allow(seconds=90)
def test_a_foreign_program_does_not_inherit_a_credential(box):
    workers = Workers(box)
    box.run("install -d -m 0700 /etc/credstore")
    try:
        box.write("/etc/credstore/stem.broker-url", "redis://app:hunter2@cache/0\n", mode=0o600)
        workers.drop_in(box.read(CREDENTIALS))
        box.write("/opt/worker.sh", "#!/bin/sh\nenv > /var/lib/stem/seen.new\ncat $CREDENTIALS_DIRECTORY/stem.broker-url > /var/lib/stem/read\n"
                  "mv /var/lib/stem/seen.new /var/lib/stem/seen\nexec sleep 1000\n", mode=0o755)
        workers.multi("start", "a", "--command", "/opt/worker.sh")
        wait_until(lambda: box.exists("/var/lib/stem/seen"), what="the program has run")
        assert "hunter2" not in box.read("/var/lib/stem/seen")
        assert "hunter2" in box.read("/var/lib/stem/read")  # it may fetch it, since it is the worker
    finally:
        box.run("rm -rf /etc/credstore")


@allow(seconds=120)
def test_an_encrypted_credential_works(box):
    workers = Workers(box)
    box.run("install -d -m 0700 /etc/credstore.encrypted")
    made = box.run("printf %s sqlite:///var/lib/stem/encrypted.db | systemd-creds encrypt --with-key=host --name=stem.broker-url - "
                   "/etc/credstore.encrypted/stem.broker-url", check=False)
    if made.rc:
        raise Skip(f"systemd-creds cannot encrypt here: {made.stderr.strip()}")
    try:
        workers.drop_in("[Service]\nLoadCredentialEncrypted=stem.broker-url:/etc/credstore.encrypted/stem.broker-url\n")
        workers.start("a")
        assert box.exists("/var/lib/stem/encrypted.db")
        assert "encrypted.db answers" in Diagnosis(box).checks["broker"]["finding"]
    finally:
        box.run("rm -rf /etc/credstore.encrypted")


@allow(seconds=120)
def test_a_planted_secret_is_in_no_output(box):
    workers = Workers(box)
    secret = "planted-hunter2"
    url = f"redis://app:{secret}@127.0.0.1:1/0"  # where nobody listens: the worker goes on trying
    box.write("/etc/stem/stem.env", f"STEM_BROKER_URL={url}\nSTEM_RESULT_BACKEND_URL={url}\nSTEM_WORKER_APP={EFFECTS}\n", mode=0o640, owner="root:stem")
    seen = {}

    def keep(what, ran):
        seen[what] = ran.stdout + ran.stderr
        return ran

    any_status = set(range(256))
    keep("start", workers.multi("start", "--no-block", "a", check=any_status))
    wait_until(lambda: "Redis" in json.dumps(box.journal("stem-worker@a")), 20, "it speaks of its broker")
    keep("status", workers.multi("status", "--json", check=any_status))
    for words in (["diagnose"], ["diagnose", "-v"], ["diagnose", "--json"], ["healthcheck"], ["healthcheck", "--json"]):
        keep(" ".join(words), box.run(["stem", "worker", words[0], "--node", "a", *words[1:]], check=any_status))
    for words in (["enqueue", "x"], ["queues"], ["result", "x"], ["worker", "start", "--app", EFFECTS]):
        keep(" ".join(words), box.run(["stem", *words, "--env-file", "/etc/stem/stem.env"], check=any_status))
    box.write("/tmp/bad.env", f"STEM_BROKER_URL: {url}?a=b\n")
    bad = keep("a bad file", box.run(["stem", "queues", "--env-file", "/tmp/bad.env"], check={78}))
    assert "/tmp/bad.env:1: `STEM_BROKER_URL:" in bad.stderr, bad.stderr
    keep("ps", box.run(["ps", "-ef", "ww"], check=any_status))
    keep("cat", box.run(["systemctl", "cat", "stem-worker@a"]))
    keep("show", box.run(["systemctl", "show", "stem-worker@a"]))
    seen["journal"] = json.dumps(box.journal("stem-worker@a"))
    leaks = [what for what, text in seen.items() if secret in text]
    assert leaks == [], {what: seen[what][:2000] for what in leaks}
    assert os.path.basename(EFFECTS) in seen["diagnose --json"]  # so something was said


def test_a_warning_of_an_environment_file_is_printed_once(stage, tmp):
    (tmp / "e.env").write_text("export STEM_LOG_LEVEL=debug\nSTEM_BROKR_URL=x\n")
    env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run")
    ran = execute(["stem", "worker", "start", "--command", "/bin/true", "--env-file", f"{tmp}/e.env"], env=env, timeout=30)
    assert ran.stderr.count("`export` is taken here") == 1, ran.stderr
    assert ran.stderr.count("unknown variable STEM_BROKR_URL") == 1, ran.stderr
