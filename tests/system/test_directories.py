"""Templates and directories of pidfiles, log files and working directories, for root and for others: what is made, with
which owner and mode, what is refused, and what is said then."""

import re
import time

from box import allow
from workers import EFFECTS

PLACE = "/srv/stem"


class Person:
    """`stem worker multi` on a machine without systemd, by root for the user stem, or by an ordinary user."""

    def __init__(self, plain, root):
        self.plain, self.root = plain, root
        plain.run("id someone >/dev/null 2>&1 || useradd --create-home someone")
        self.owner = "stem stem" if root else "someone someone"
        self.user = None if root else "someone"
        plain.run(f"rm -rf {PLACE} && install -d -m 0755 {PLACE} && install -d -o {self.owner.split()[0]} -m 0755 {PLACE}/own && "
                  f"rm -rf {PLACE}-run {PLACE}-state && install -d -o {self.owner.split()[0]} -m 0755 {PLACE}-run {PLACE}-state")
        self.env = {"STEM_RUNTIME_DIR": f"{PLACE}-run", "STEM_BROKER_URL": f"sqlite://{PLACE}-state/stem.db",
                    **({"STEMD_USER": "stem"} if root else {})}

    def start(self, node, *words, umask="022", rc=0):
        ran = self.plain.run(["sh", "-c", f'umask {umask}; exec stem worker multi start "$@"', "sh", node, "--app", EFFECTS, *words],
                             user=self.user, env=self.env, check=False)
        assert ran.rc == rc, f"exit status {ran.rc}, not {rc}: {words}\n{ran.stdout}{ran.stderr}"
        return ran

    def stop(self, *nodes):
        self.plain.run(["stem", "worker", "multi", "stop", *nodes], user=self.user, env=self.env)

    def state(self, node):
        ran = self.plain.run(["stem", "worker", "multi", "status", node, "--json"], user=self.user, env=self.env)
        return ran.json()["nodes"][0]

    def facts(self, path):
        return self.plain.run(["stat", "-c", "%U %G %a", path]).stdout.strip()


def made_as_it_should_be(person):
    for number, umask in enumerate(("022", "077", "000")):
        for private, mode in (((), "755"), (("--private",), "750")):
            base = f"{PLACE}/own/{number}{mode}"
            person.start("a", "--pidfile", f"{base}/run/deep/%n.pid", "--logfile", f"{base}/log/%n%I.log", *private, "--reset", umask=umask)
            for path in (base, f"{base}/run", f"{base}/run/deep", f"{base}/log"):
                assert person.facts(path) == f"{person.owner} {mode}", (umask, path, person.facts(path))
            # Others may ask whether it lives, and none but its own may read the log.
            assert person.facts(f"{base}/run/deep/a.pid") == f"{person.owner} 644"
            assert person.facts(f"{base}/log/a.log") == f"{person.owner} 640"
            person.stop("a")
            assert not person.plain.exists(f"{base}/run/deep/a.pid")


@allow(seconds=120)
def test_missing_directories_are_made_for_the_worker_whatever_the_umask_by_root(plain):
    made_as_it_should_be(Person(plain, root=True))


@allow(seconds=120)
def test_missing_directories_are_made_for_the_worker_whatever_the_umask_by_an_ordinary_user(plain):
    made_as_it_should_be(Person(plain, root=False))


def what_exists_stays(person):
    own = person.owner.split()[0]
    person.plain.run(f"install -d -o {own} -g root -m 0700 {PLACE}/own/kept")
    person.start("a", "--pidfile", f"{PLACE}/own/kept/a.pid")
    assert person.facts(f"{PLACE}/own/kept") == f"{own} root 700"
    person.stop("a")


def test_directories_that_exist_stay_as_they_are(plain):
    what_exists_stays(Person(plain, root=True))
    what_exists_stays(Person(plain, root=False))


def refused(person):
    """Each place that is no good, what is said, and that nothing was left there."""
    plain, own = person.plain, person.owner.split()[0]
    plain.run(f"""
        cd {PLACE}
        install -d -o nobody -m 0777 foreign
        install -d -o root -m 0755 roots
        touch file
        install -d -m 0755 sealed && mount -t tmpfs -o mode=0755,uid={plain.uid(own)} sealed sealed && mount -o remount,ro sealed
        ln -s loop own/loop
        ln -s {PLACE}/roots own/trap
        chown -h {own} own/loop own/trap
    """)
    try:
        for option in ("--pidfile", "--logfile"):
            for place, rc, words in (
                    ("foreign", 77, "belongs to nobody"),
                    ("roots", 77, f"install -d -o {own}"),
                    ("roots/new", 77 if not person.root else None, f"install -d -o {own}"),
                    ("file/new", 73, "Not a directory"),
                    ("sealed", 73, "Read-only file system"),
                    ("sealed/new", 73, "Read-only file system"),
                    ("own/loop/new", 73, "symbolic link"),
                    ("own/trap", 77, "a symbolic link to a place that belongs to root"),
                    ("own/trap/new", 77, "a symbolic link to a place that belongs to root")):
                if rc is None:
                    continue  # root may make it there, for the worker
                ran = person.start("a", option, f"{PLACE}/{place}/a.file", "--reset", rc=rc)
                assert words in ran.stderr and f"{PLACE}/{place}" in ran.stderr, (option, place, ran.stderr)
                assert ran.stderr.count("stem worker multi: a: ") == 1, ran.stderr
        assert plain.run(f"ls -A {PLACE}/foreign {PLACE}/roots").stdout.split() == [f"{PLACE}/foreign:", f"{PLACE}/roots:"]
        assert person.plain.run(["pgrep", "-f", "stem worker start"], check={0, 1}).rc == 1
    finally:
        plain.run(f"umount {PLACE}/sealed")


@allow(seconds=120)
def test_places_that_are_no_good_are_refused_with_what_to_do_for_root(plain):
    refused(Person(plain, root=True))


@allow(seconds=120)
def test_places_that_are_no_good_are_refused_with_what_to_do_for_an_ordinary_user(plain):
    refused(Person(plain, root=False))


def test_links_that_root_made_and_links_to_ones_own_place_are_followed(plain):
    for root in (True, False):
        person = Person(plain, root)
        own = person.owner.split()[0]
        plain.run(f"cd {PLACE} && ln -s own byroot && install -d -o {own} own/real && ln -s real own/mine && chown -h {own} own/mine")
        for place in ("byroot", "own/mine"):
            person.start("a", "--pidfile", f"{PLACE}/{place}/new/a.pid", "--reset")
            assert person.facts(f"{PLACE}/{place}/new/.") == f"{person.owner} 755"
            person.stop("a")


def test_marks_of_templates_stand_for_what_they_say(plain):
    person = Person(plain, root=True)
    host = plain.run(["hostname"]).stdout.strip()
    before = time.time()
    person.start("web-1", "--pidfile", f"{PLACE}/own/%n@%h-%d%I%%.pid", "--logfile", f"{PLACE}/own/log/%d/%n%I.log",
                 "--workdir", f"{PLACE}/own")
    state = person.state("web-1")
    found = re.fullmatch(rf"{PLACE}/own/web-1@{host}-(\d{{8}}T\d{{6}}Z)%\.pid", state["pidfile"])
    assert found and plain.exists(state["pidfile"]), state
    stamp = time.strptime(found.group(1) + "UTC", "%Y%m%dT%H%M%SZ%Z")
    assert -2 <= time.mktime(stamp) - time.timezone - before <= 5, found.group(1)
    assert state["logfile"] == f"{PLACE}/own/log/{found.group(1)}/web-1.log" and "ready" in plain.read(state["logfile"])
    assert plain.run(["readlink", f"/proc/{state['pid']}/cwd"]).stdout.strip() == f"{PLACE}/own"
    time.sleep(1.1)  # another second, so that %d would be another
    assert "running already" in person.start("web-1").stdout
    person.stop("web-1")  # it finds what start made
    assert not plain.exists(state["pidfile"]) and not plain.run(["pgrep", "-f", "stem worker start"], check={0, 1}).stdout


def test_other_marks_are_refused_before_anything_is_made(plain):
    person = Person(plain, root=True)
    for option in ("--pidfile", "--logfile", "--workdir"):
        for bad in ("%x", "%", "%N", "% n"):
            ran = person.start("a", option, f"{PLACE}/own/new/{bad}.file", "--reset", rc=78)
            assert f"{bad}" in ran.stderr, ran.stderr
    assert plain.run(f"ls -A {PLACE}/own").stdout == ""


def test_two_names_that_one_template_makes_the_same_exclude_each_other(plain):
    person = Person(plain, root=True)
    person.start("a", "--pidfile", f"{PLACE}/own/one.pid")
    ran = person.plain.run(["stem", "worker", "multi", "start", "b", "--app", EFFECTS, "--pidfile", f"{PLACE}/own/one.pid"],
                           env=person.env, check=False)
    assert person.plain.run(["pgrep", "-fc", "^/usr/bin/stem worker start"]).stdout.strip() == "1", ran
    person.stop("a")


def test_a_full_file_system_stops_a_start_with_a_word_and_a_running_worker_not_at_all(plain):
    person = Person(plain, root=True)
    own = plain.uid("stem")
    plain.run(f"install -d {PLACE}/full {PLACE}/crowded && mount -t tmpfs -o size=64k,mode=0755,uid={own} full {PLACE}/full && "
              f"mount -t tmpfs -o nr_inodes=1,mode=0755,uid={own} crowded {PLACE}/crowded")
    try:
        for option in ("--pidfile", "--logfile"):
            ran = person.start("a", option, f"{PLACE}/crowded/a.file", "--reset", rc=73)
            assert "No space left on device" in ran.stderr and f"{PLACE}/crowded/a.file" in ran.stderr, ran.stderr
        ran = person.start("a", "--logfile", f"{PLACE}/crowded/new/a.log", "--reset", rc=73)
        assert "make room" in ran.stderr, ran.stderr

        person.start("a", "--logfile", f"{PLACE}/full/a.log", "--reset")
        pid = person.state("a")["pid"]
        plain.run(f"dd if=/dev/zero of={PLACE}/full/fill 2>/dev/null; dd if=/dev/zero bs=1 of={PLACE}/full/fill2 2>/dev/null; true")
        held = plain.read(f"{PLACE}/full/a.log")
        for _ in range(200):  # more than the rest of the log's last page
            plain.run(["kill", "-HUP", str(pid)])
        assert person.state("a")["pid"] == pid and person.state("a")["state"] == "running"
        plain.run(f"rm {PLACE}/full/fill {PLACE}/full/fill2")
        person.stop("a")
        text = plain.read(f"{PLACE}/full/a.log")
        assert text.startswith(held) and "lines before this one could not be written" in text and "ended" in text, text[-500:]
    finally:
        person.stop("a")
        plain.run(f"umount {PLACE}/full {PLACE}/crowded")
