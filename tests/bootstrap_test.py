#!/usr/bin/env python3
"""examples/bootstrap, as docs/tls.md and docs/signing.md set it up: a producer and a worker of one program, signed jobs, a
Redis with TLS.

Usage: tests/bootstrap_test.py STEM BOOTSTRAP SOURCE_DIR
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

from checks import Checks
from tls_test import Redis


def main():
    checks = Checks(sys.argv[1:])
    if len(checks.arguments) != 3:
        sys.exit(__doc__)
    stem, bootstrap, source = checks.arguments
    if not shutil.which("redis-server"):
        checks.skip("redis-server is not installed; tool/setup installs it")
    with tempfile.TemporaryDirectory(prefix="stem-bootstrap-") as directory:
        assets, notes = f"{directory}/tls", f"{directory}/notes"
        subprocess.run([f"{source}/scripts/security/generate_tls_assets.sh", "--out", assets], check=True, stdout=subprocess.DEVNULL)
        with Redis(directory, assets) as redis:
            secret = base64.b64encode(os.urandom(32)).decode()
            plain = {name: value for name, value in os.environ.items() if not name.startswith("STEM")} | {
                "STEM_BROKER_URL": f"rediss://localhost:{redis.port}", "STEM_TLS_CA_CERT": f"{assets}/ca.pem",
                "STEM_TLS_CLIENT_CERT": f"{assets}/client.pem", "STEM_TLS_CLIENT_KEY": f"{assets}/client-key.pem",
                "STEM_RUNTIME_DIR": f"{directory}/run"}
            env = plain | {"STEM_SIGNING_KEYS": f"v1:{secret}", "STEM_SIGNING_ACTIVE_KEY": "v1"}

            def run(*words, environment):
                return subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90)

            worker = subprocess.Popen([bootstrap, "worker"], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(worker.stderr))
            reader.start()
            try:
                said = run(bootstrap, notes, "one", "two", "three", environment=env)
                written = open(notes, encoding="utf-8").read().split() if os.path.exists(notes) else []
                checks.check("bootstrap: what the producer enqueues, signed and through TLS, the worker does",
                             [] if said.returncode == 0 and said.stdout.count(" is written") == 3 and sorted(written) == ["one", "three", "two"]
                             else [f"{said.returncode}: {said.stdout}{said.stderr}{written}"])
                forged = run(stem, "enqueue", "note.write", "--args", json.dumps({"file": notes, "text": "forged"}), "--wait", environment=plain)
                checks.check("bootstrap: a job that is not signed is not done",
                             [] if forged.returncode == 1 and "signature-invalid" in forged.stdout + forged.stderr
                             and "forged" not in open(notes, encoding="utf-8").read() else [f"{forged.returncode}: {forged.stdout}{forged.stderr}"])
                refused = run(bootstrap, notes, "four", environment=plain | {"STEM_SIGNING_ACTIVE_KEY": "v1"})
                checks.check("bootstrap: what is wrong is one line and an exit status",
                             [] if refused.returncode == 78 and refused.stderr.startswith("bootstrap: STEM_SIGNING_ACTIVE_KEY is set")
                             and refused.stderr.count("\n") == 1 else [f"{refused.returncode}: {refused.stderr}"])
            finally:
                worker.terminate()
                status = worker.wait(timeout=60)
                reader.join()
            checks.check("bootstrap: the worker ends well when it is told to", [] if status == 0 else [f"{status}: {''.join(lines)}"])
    checks.finish()


if __name__ == "__main__":
    main()
