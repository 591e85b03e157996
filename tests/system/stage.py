"""The installed tree: what `meson install` puts on a machine, in a directory of its own."""

import json
import os
import shutil
from pathlib import Path

from box import PATH
from command import execute
from kernel import private_directory, sweep

PREFIX = "stem-stage."
SOURCE = Path(__file__).resolve().parents[2]


class Stage:
    """`build` installed below `root`, with the prefix /usr. Removed by close()."""

    def __init__(self, build):
        self.build = Path(build).resolve()
        self.root = None
        self._directory = self._lock = None
        self.source = SOURCE

    def __enter__(self):
        self.install()
        return self

    def __exit__(self, *_):
        self.close()

    def install(self):
        """AssertionError if the build directory cannot be installed; says what to do."""
        options = self.options()
        if options["prefix"] != "/usr":
            raise AssertionError(f"{self.build} is configured for the prefix {options['prefix']}; system tests need "
                                 f"/usr. Say: meson configure {self.build} -Dprefix=/usr")
        sweep(PREFIX, shutil.rmtree)
        self._directory, self._lock = private_directory(PREFIX)
        self._directory.chmod(0o755)  # the tree is for every user
        self.root = self._directory / "root"
        self.root.mkdir(mode=0o755)
        done = execute(["meson", "install", "-C", self.build, "--no-rebuild", "--quiet", "--destdir", self.root],
                       timeout=120)
        if done.rc:
            self.close()
            raise AssertionError(f"meson install failed (is everything built?)\n{done.stdout}{done.stderr}")

    def close(self):
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            os.close(self._lock)
            self.root = self._directory = self._lock = None

    def options(self):
        """The build's options by name. AssertionError if it is no build directory."""
        try:
            rows = json.loads((self.build / "meson-info/intro-buildoptions.json").read_text())
        except OSError:
            raise AssertionError(f"{self.build} is not a build directory. "
                                 f"Say: meson setup {self.build} --prefix=/usr && ninja -C {self.build}") from None
        return {row["name"]: row["value"] for row in rows}

    def files(self):
        """Every installed file and link, as absolute paths on the machine it is meant for."""
        return sorted("/" + str((Path(top) / name).relative_to(self.root))
                      for top, _, names in os.walk(self.root) for name in names)

    def environment(self, **more):
        """What a process of the host needs to find the installed programs and libraries; not inherited."""
        return {"PATH": f"{self.root}/usr/bin:{PATH}", "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/"),
                "LD_LIBRARY_PATH": f"{self.root}/usr/{self.options()['libdir']}", **more}

    def built(self, path):
        """A file of the build directory that is not installed, such as an example module."""
        return self.build / path

    def box_options(self):
        """How a Box is made that shows this tree: sources and build are readable in it, too. Programs of a build that counts
        the lines that run write their counts where they were compiled."""
        return {"layers": [self.root], "binds": {"/usr/src/stem": self.source, "/usr/src/stem-build": self.build},
                "shared": [self.build] if self.options().get("b_coverage") else []}

    def settle(self, box):
        """What a package does after it has unpacked its files."""
        box.run("systemd-sysusers && systemd-tmpfiles --create --prefix=/run/stem --prefix=/var/lib/stem "
                "--prefix=/var/log/stem --prefix=/etc/stem --prefix=/var/cache/stem && ldconfig && "
                "journalctl --update-catalog && systemctl daemon-reload")
        box.snapshot()
