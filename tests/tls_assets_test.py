#!/usr/bin/env python3
"""Runs scripts/security/generate_tls_assets.sh and looks at what it makes, with openssl.

Usage: tests/tls_assets_test.py SOURCE_DIR
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Checks

FILES = {"ca.pem": 0o644, "server.pem": 0o644, "server-key.pem": 0o600, "client.pem": 0o644, "client-key.pem": 0o600}


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=60, **more)


def openssl(*arguments):
    return run("openssl", *arguments).stdout


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.is_dir() else {}


def extension(certificate, name):
    """The text of one extension: what stands on the line after its name."""
    lines = openssl("x509", "-in", certificate, "-noout", "-ext", name).splitlines()
    return lines[1].strip() if len(lines) > 1 else ""


class Assets:
    def __init__(self, script, here):
        self.script, self.here = script, here

    def make(self, name, *arguments, **more):
        return run(self.script, "--out", self.here / name, *arguments, **more)


def what_is_made(checks, assets, here):
    made = assets.make("first", "--host", "redis.example", "--host", "10.0.0.1", "--host", "fe80::1", "--host", "*.example",
                       "--days", "30")
    out = here / "first"
    checks.check("tls assets: they are made", [] if made.returncode == 0 else [made.stderr])
    checks.check("tls assets: the five files are there, and nothing else, with their modes",
                 [f"{name}: {oct(mode)}" for name, mode in
                  {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}.items()
                  if FILES.get(name) != mode] + [f"no {name}" for name in FILES if not (out / name).is_file()])
    for side, purpose, other in (("server", "sslserver", "sslclient"), ("client", "sslclient", "sslserver")):
        ca, certificate = out / "ca.pem", out / f"{side}.pem"
        right = run("openssl", "verify", "-x509_strict", "-CAfile", ca, "-purpose", purpose, certificate)
        wrong = run("openssl", "verify", "-CAfile", ca, "-purpose", other, certificate)
        checks.check(f"tls assets: the authority vouches for the {side}, as a {side} only",
                     ([] if right.returncode == 0 else [right.stdout + right.stderr])
                     + ([] if wrong.returncode != 0 else [f"it is taken as a {other}"]))
        key = openssl("pkey", "-in", out / f"{side}-key.pem", "-pubout")
        checks.check(f"tls assets: the {side}'s key belongs to its certificate, and is of the curve P-256",
                     ([] if key and key == openssl("x509", "-in", certificate, "-noout", "-pubkey") else ["it does not"])
                     + ([] if "prime256v1" in openssl("pkey", "-in", out / f"{side}-key.pem", "-noout", "-text") else ["it is not"]))
    names = extension(out / "server.pem", "subjectAltName")
    checks.check("tls assets: every --host is among the server's names",
                 [] if names == "DNS:redis.example, IP Address:10.0.0.1, IP Address:FE80:0:0:0:0:0:0:1, DNS:*.example" else [names])
    names = extension(out / "client.pem", "subjectAltName")
    checks.check("tls assets: the client has a name", [] if names == "DNS:stem-client" else [names])
    for host, taken in (("redis.example", True), ("other.example.org", False)):
        answer = run("openssl", "verify", "-CAfile", out / "ca.pem", "-verify_hostname", host, out / "server.pem")
        checks.check(f"tls assets: as {host} the server is {'taken' if taken else 'refused'}",
                     [] if (answer.returncode == 0) == taken else [answer.stdout + answer.stderr])
    ends = [run("openssl", "x509", "-in", out / name, "-noout", "-checkend", days * 86400).returncode
            for name in ("ca.pem", "server.pem", "client.pem") for days in (29, 31)]
    checks.check("tls assets: they are valid for --days", [] if ends == [0, 1] * 3 else [str(ends)])


def what_is_kept(checks, assets, here):
    out = here / "first"
    before = contents(out)
    again = assets.make("first")
    checks.check("tls assets: what is there is not replaced",
                 ([] if again.returncode == 73 and "first/ca.pem is there already; say --force" in again.stderr
                  else [f"{again.returncode}: {again.stderr}"])
                 + ([] if contents(out) == before else ["something changed"]))
    only = here / "only-one"
    only.mkdir()
    (only / "client-key.pem").symlink_to(here / "nowhere")
    one = assets.make("only-one")
    checks.check("tls assets: one file of the five, or a link to nowhere, is enough to refuse",
                 ([] if one.returncode == 73 else [f"{one.returncode}: {one.stderr}"])
                 + ([] if [path.name for path in only.iterdir()] == ["client-key.pem"] else ["something was made"]))
    forced = assets.make("first", "--force")
    checks.check("tls assets: --force replaces all of them",
                 ([] if forced.returncode == 0 else [forced.stderr])
                 + [f"{name} is the old one" for name, text in contents(out).items() if before.get(name) == text])
    names = extension(out / "server.pem", "subjectAltName")
    checks.check("tls assets: without --host the server is this machine",
                 [] if names.startswith("DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1") else [names])


def what_goes_wrong(checks, assets, here):
    # An openssl that fails at its last call but one: by then most files are made.
    bin_dir = here / "bin"
    bin_dir.mkdir()
    (bin_dir / "openssl").write_text(f"""#!/bin/sh
echo x >>'{here}/calls'
[ "$(wc -l <'{here}/calls')" -lt 10 ] || {{ echo 'no more entropy' >&2; exit 1; }}
exec {shutil.which('openssl')} "$@"
""", encoding="utf-8")
    (bin_dir / "openssl").chmod(0o755)
    broken = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}"}
    half = assets.make("half", env=broken)
    checks.check("tls assets: when openssl fails, it says so, and nothing is left behind",
                 ([] if half.returncode == 70 and "no more entropy" in half.stderr else [f"{half.returncode}: {half.stderr}"])
                 + list(contents(here / "half")))
    (here / "calls").unlink()
    before = contents(here / "first")
    half = assets.make("first", "--force", env=broken)
    checks.check("tls assets: a replacement that fails leaves the old ones",
                 ([] if half.returncode == 70 else [f"{half.returncode}: {half.stderr}"])
                 + ([] if contents(here / "first") == before else ["something changed"]))
    (here / "a-file").write_text("")
    blocked = assets.make("a-file/below")
    checks.check("tls assets: a directory that cannot be made is named",
                 [] if blocked.returncode == 73 and "a-file/below" in blocked.stderr else [f"{blocked.returncode}: {blocked.stderr}"])
    folder = here / "folder"
    (folder / "ca.pem").mkdir(parents=True)
    blocked = assets.make("folder", "--force")
    checks.check("tls assets: a directory in the way is not replaced",
                 [] if blocked.returncode == 73 and "is a directory" in blocked.stderr else [f"{blocked.returncode}: {blocked.stderr}"])
    for arguments, says in ((["--host", "a,DNS:evil"], "neither a host name"), (["--host", "a\nb"], "neither a host name"),
                            (["--days", "0"], "1 to 36500"), (["--days", "36501"], "1 to 36500"), (["--days", "1e9"], "1 to 36500"),
                            (["--client", "a/b"], "--client takes"), (["--host"], "takes a value"), (["extra"], "unknown argument")):
        refused = assets.make("refused", *arguments)
        checks.check(f"tls assets: {' '.join(arguments)!r} is refused",
                     [] if refused.returncode == 64 and says in refused.stderr and not (here / "refused").exists()
                     else [f"{refused.returncode}: {refused.stderr}"])
    nowhere = run(assets.script)
    checks.check("tls assets: --out is asked for", [] if nowhere.returncode == 64 and "--out DIR" in nowhere.stderr else [nowhere.stderr])


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 1:
        sys.exit(__doc__)
    if not shutil.which("openssl"):
        checks.skip("openssl is not installed")
    script = Path(checks.arguments[0]).resolve() / "scripts/security/generate_tls_assets.sh"
    with tempfile.TemporaryDirectory(prefix="stem-tls-") as name:
        here = Path(name)
        assets = Assets(script, here)
        what_is_made(checks, assets, here)
        what_is_kept(checks, assets, here)
        what_goes_wrong(checks, assets, here)
    checks.finish()


if __name__ == "__main__":
    main()
