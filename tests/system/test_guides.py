"""The guides in docs/: every block of commands is run, or says why it is not.

Before each fenced block of a guide stands a mark:
    <!-- run: box -->            run as root where systemd runs the machine; `plain` where it does not; or both
    <!-- run: box, exit 78 -->   and its exit status is this
    <!-- file: plain PATH MODE -->  what stands in the block is written there first (0644 if no mode is given)
    <!-- not run: why -->
The blocks of one page run in their order on one machine, in a directory where `build` is the build directory.
"""

import re
from pathlib import Path

from box import allow, wait_until
from stage import SOURCE

GUIDES = ["daemonization", "production-checklist"]
FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(guide):
    """(line, mark, language, text) of every fenced block of a page."""
    page = (SOURCE / f"docs/{guide}.md").read_text(encoding="utf-8")
    return [(page.count("\n", 0, match.start("text")), match["mark"], match["language"], match["text"]) for match in FENCE.finditer(page)]


def parsed(mark):
    """What kind of mark, its words, and the exit status."""
    kind, _, rest = mark.partition(": ")
    words, _, status = rest.partition(", exit ") if kind == "run" else (rest, "", "")
    return kind, words.split() if kind != "not run" else [rest], int(status or 0)


def follow(machine, name, guide):
    """Runs what the page says for this kind of machine; returns how many blocks that were."""
    machine.run("rm -rf /srv/guide && mkdir -p /srv/guide && ln -s /usr/src/stem-build /srv/guide/build && ln -s /usr/src/stem/scripts /srv/guide/scripts")
    count = 0
    for line, mark, _, text in blocks(guide):
        kind, words, status = parsed(mark)
        if kind == "file" and words[0] == name:
            machine.write(words[1], text, mode=int(words[2], 8) if len(words) > 2 else 0o644)
        if kind == "run" and name in words:
            ran = machine.run(["sh", "-eu", "-c", text], check=False, timeout=60, cwd="/srv/guide")
            assert ran.rc == status, f"docs/{guide}.md:{line}: exit status {ran.rc}, not {status}\n{text}\n{ran.stdout}\n{ran.stderr}"
            count += 1
    return count


def test_every_block_has_a_mark_that_is_understood():
    for guide in GUIDES:
        found = blocks(guide)
        assert len(found) >= 8, guide
        for line, mark, language, _ in found:
            where = f"docs/{guide}.md:{line}"
            assert mark, f"{where}: a block without a mark"
            kind, words, _ = parsed(mark)
            assert kind in ("run", "file", "not run"), f"{where}: {mark}"
            assert kind != "run" or (language == "sh" and set(words) <= {"box", "plain"} and words), f"{where}: {mark}"
            assert kind != "file" or (words[0] in ("box", "plain") and Path(words[1]).is_absolute()), f"{where}: {mark}"
            assert kind != "not run" or len(words[0]) > 10, f"{where}: say why"


@allow(seconds=180)
def test_the_guide_to_daemonization_is_true_where_systemd_runs(box):
    assert follow(box, "box", "daemonization") >= 15


@allow(seconds=180)
def test_the_guide_to_daemonization_is_true_where_systemd_does_not_run(plain):
    assert follow(plain, "plain", "daemonization") >= 8


@allow(seconds=180)
def test_the_production_checklist_is_true(box):
    assert follow(box, "box", "production-checklist") >= 6


def test_the_container_entry_point_reports_a_worker_that_died(plain):
    """As process 1 of a pid namespace of its own: it ends with 1, and takes the others along."""
    entry = next(text for _, mark, _, text in blocks("daemonization") if mark.startswith("file: plain /usr/local/bin/stem-entrypoint"))
    plain.write("/usr/local/bin/stem-entrypoint", entry.replace("sleep 5", "sleep 0.3"), mode=0o755)
    plain.run("install -D -m 0644 /usr/src/stem-build/examples/files/libfiles.so /usr/lib/stem/libfiles.so && "
              "install -d -o stem -g stem -m 2770 /var/lib/stem")
    process = plain.start(["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "/usr/local/bin/stem-entrypoint"], env={
        "STEMD_NODES": "web-1 web-2", "STEMD_USER": "stem", "STEM_WORKER_APP": "/usr/lib/stem/libfiles.so", "HOME": "/var/lib/stem"})
    pids = wait_until(lambda: (lambda lines: lines if len(lines) == 2 else None)(
        plain.run(["pgrep", "-f", "^/usr/bin/stem worker start"], check={0, 1}).lines()), what="both run")
    wait_until(lambda: plain.exists("/run/stem/web-1.sock") and plain.exists("/run/stem/web-2.sock"), what="both are ready")
    plain.kill(pids[0])
    assert process.wait(20) == 1
    assert not plain.run(["pgrep", "-f", "^/usr/bin/stem worker start"], check={0, 1}).lines()
