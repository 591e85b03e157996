"""The Debian packages of tool/package, made of this build: lintian, one hash for two runs, and a machine that gets them."""

import hashlib
import os
import subprocess

from box import allow, Box, Skip
from workers import Workers


def make(stage, out, *words):
    ran = subprocess.run([stage.source / "tool/package", "--build", stage.build, "--out", out, *words], capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, check=False, env=os.environ | {"DEBFULLNAME": "A & B", "DEBEMAIL": "ops@example.org"})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def hashes(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob("*.deb")}


@allow(seconds=600)
def test_packages_are_made_twice_alike_and_a_machine_can_get_upgrade_and_lose_them(stage, tmp):
    if stage.options().get("b_coverage"):
        raise Skip("nobody ships a build that counts its lines, and lintian would read it for minutes")
    ran = make(stage, tmp / "a")
    assert "E: " not in ran.stderr, ran.stderr
    make(stage, tmp / "b", "--no-check")
    assert hashes(tmp / "a") == hashes(tmp / "b")
    assert sorted(name.split("_")[0] for name in hashes(tmp / "a")) == ["libstem-dev", "libstem0", "stem"], hashes(tmp / "a")

    for package in (tmp / "a").glob("*.deb"):
        said = subprocess.run(["dpkg-deb", "-f", package, "Maintainer"], capture_output=True, text=True, check=True).stdout
        assert said == "A & B <ops@example.org>\n", said

    with Box(binds={"/usr/src/stem-build": stage.build, "/srv/packages": tmp / "a"}, hostname="deb") as box:
        box.run("! command -v stem && ! getent passwd stem")
        box.run("dpkg -i /srv/packages/*.deb", timeout=120)
        assert box.run("dpkg --audit; dpkg --verify stem libstem0 libstem-dev").stdout == ""
        # Of the package: a machine may be set up to leave documents out.
        assert "docs/process/observability-runbook.md\n" in box.run("dpkg -c /srv/packages/stem_*.deb").stdout
        # Status 1: they are all there, and none tells where it was built, or two builds would differ.
        box.run(f"grep -lF -e {stage.build} -e {stage.source} /usr/bin/stem /usr/lib/*/libstem.so.0 /usr/lib/*/stem/*.so", check={1})
        box.run("getent passwd stem && test -f /etc/stem/stem.env && man -w stem && pkg-config --exists stem")
        assert box.run(["systemctl", "list-units", "--all", "--no-legend", "stem*"]).stdout == "", "nothing is started unasked"

        workers = Workers(box)
        workers.start("web-1", "web-2")
        workers.enqueue("effect.append", '{"file": "/var/lib/stem/out", "text": "ran"}', "--wait")
        assert box.read("/var/lib/stem/out") == "ran\n"
        pid = workers.pid("web-1")
        box.write("/etc/stem/stem.env", "STEM_WORKER_CONCURRENCY=1\n")
        box.run("dpkg -i /srv/packages/*.deb", timeout=120)
        assert workers.pid("web-1") == pid, "an upgrade ends no worker"
        assert box.read("/etc/stem/stem.env") == "STEM_WORKER_CONCURRENCY=1\n"

        box.run("dpkg -r stem", timeout=120)
        assert not box.exists(f"/proc/{pid}/exe"), "who removes the program stops its workers"
        assert box.exists("/etc/logrotate.d/stem") and box.exists("/var/log/stem")
        box.run("dpkg -P stem libstem-dev libstem0", timeout=120)
        left = box.run("ls -d /etc/stem /etc/logrotate.d/stem /var/log/stem /var/cache/stem /usr/bin/stem /usr/share/stem", check={2}).stdout
        assert left == "", left
        assert box.exists("/var/lib/stem/out"), "jobs and results are the administrator's"
        assert "stem" not in box.run(["systemctl", "list-units", "--state=failed", "--no-legend"]).stdout
