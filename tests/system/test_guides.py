"""The guides in docs/: every block of commands is run, or says why it is not.

Before each fenced block of a guide stands a mark:
    <!-- run: box -->            run as root where systemd runs the machine; `plain` where it does not; or both
    <!-- run: box, exit 78, says "text", says "more" -->   and its exit status is this, and it prints these, anywhere
    <!-- file: plain PATH MODE -->  what stands in the block is written there first (0644 if no mode is given)
    <!-- not run: why -->
The blocks of one page run in their order on one machine, in a directory where `build` is the build directory.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

from box import Ran, Skip, allow, wait_until
from stage import SOURCE

GUIDES = ["daemonization", "production-checklist", "process/observability-runbook"]
FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(guide):
    """(line, mark, language, text) of every fenced block of a page."""
    page = (SOURCE / f"docs/{guide}.md").read_text(encoding="utf-8")
    return [(page.count("\n", 0, match.start("text")), match["mark"], match["language"], match["text"]) for match in FENCE.finditer(page)]


RUN = re.compile(r"""(?P<words>[a-z ]+)(?:, exit (?P<status>\d+))?(?P<says>(?:, says "(?:[^"\\]|\\.)*")*)$""")


def parsed(mark):
    """What kind of mark, its words, the exit status, and what is printed; None if it is none."""
    kind, _, rest = mark.partition(": ")
    if kind != "run":
        return kind, [rest] if kind == "not run" else rest.split(), 0, []
    match = RUN.match(rest)
    if not match:
        return None, [], 0, []
    says = [text.replace("\\", "") for text in re.findall(r'"((?:[^"\\]|\\.)*)"', match["says"])]
    return kind, match["words"].split(), int(match["status"] or 0), says


def judge(where, text, ran, status, says):
    printed = f"{text}\n{ran.stdout}\n{ran.stderr}"
    assert ran.rc == status, f"{where}: exit status {ran.rc}, not {status}\n{printed}"
    for one in says:
        assert one in ran.stdout + ran.stderr, f"{where}: it does not say '{one}'\n{printed}"


def follow(machine, name, guide):
    """Runs what the page says for this kind of machine; returns how many blocks that were."""
    machine.run("rm -rf /srv/guide && mkdir -p /srv/guide && ln -s /usr/src/stem-build /srv/guide/build && ln -s /usr/src/stem/scripts /srv/guide/scripts")
    count = 0
    for line, mark, _, text in blocks(guide):
        kind, words, status, says = parsed(mark)
        if kind == "file" and words[0] == name:
            machine.write(words[1], text, mode=int(words[2], 8) if len(words) > 2 else 0o644)
        if kind == "run" and name in words:
            ran = machine.run(["sh", "-eu", "-c", text], check=False, timeout=60, cwd="/srv/guide")
            judge(f"docs/{guide}.md:{line}", text, ran, status, says)
            count += 1
    return count


def test_every_block_has_a_mark_that_is_understood():
    for guide in GUIDES:
        found = blocks(guide)
        assert len(found) >= 8, guide
        for line, mark, language, _ in found:
            where = f"docs/{guide}.md:{line}"
            assert mark, f"{where}: a block without a mark"
            kind, words, _, _ = parsed(mark)
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


@allow(seconds=240)
def test_the_observability_runbook_is_true(box):
    if not shutil.which("prometheus"):
        raise Skip("prometheus is not installed")
    try:
        assert follow(box, "box", "process/observability-runbook") >= 30
    finally:
        box.run("systemctl stop prometheus-of-stem; rm -rf /srv/prometheus", check=False)


def test_a_block_that_does_not_do_what_its_mark_says_is_found_out():
    kind, words, status, says = parsed('run: box plain, exit 3, says "a \\"b\\"", says "c, exit 4"')
    assert (kind, words, status, says) == ("run", ["box", "plain"], 3, ['a "b"', "c, exit 4"])
    for wrong in ("run: box exit 3", 'run: box, say "x"', 'run: box, says "x', "run: Box"):
        assert parsed(wrong)[0] is None, wrong
    ran = Ran("true", 3, 'a "b"', "c, exit 4", 0.0)
    judge("here", "true", ran, status, says)
    for rc, texts in ((0, says), (3, [*says, "d"])):
        try:
            judge("here", "true", ran, rc, texts)
        except AssertionError:
            continue
        raise RuntimeError("judged to be right, and is not")


def block_of(mark):
    """The text of the block of the guide whose mark starts so."""
    return next(text for _, found, _, text in blocks("daemonization") if found.startswith(mark))


def test_circus_gives_workers_what_supervisord_gives_them():
    """circus itself is not run."""
    supervisord = dict(re.findall(r'(\w+)="([^"]*)"', re.search(r"^environment=(.*)$", block_of("file: plain /etc/supervisor"), re.M)[1]))
    circus = dict(re.findall(r"^(\w+) = (.*)$", block_of("not run: circus").partition("[env:stem]\n")[2], re.M))
    assert len(circus) == 3 and circus == supervisord, (circus, supervisord)


@allow(seconds=120)
def test_a_link_that_the_workers_user_plants_does_not_lead_supervisord_to_a_file_of_root(plain):
    """The configuration of the guide, with links in every directory that its log files lie in and that user can write."""
    config = block_of("file: plain /etc/supervisor")
    plain.write("/etc/supervisor/conf.d/stem.conf", config)
    plain.run("install -D -m 0644 /usr/src/stem-build/examples/files/libfiles.so /usr/lib/stem/libfiles.so && "
              "install -d -o stem -g stem -m 2770 /var/lib/stem && install -d -o stem -g stem -m 0755 /var/log/stem && "
              "rm -f /root/target /var/log/supervisor/stem-*")
    logs = re.search(r"^stdout_logfile=(.*)$", config, re.M)[1].replace("%(program_name)s-%(process_num)d", "stem-0")
    for path in {logs, "/var/log/stem/stem-0.log"}:
        plain.run(["ln", "-s", "/root/target", path], user="stem", check=False)
    supervisor = plain.start(["supervisord", "-n", "-c", "/etc/supervisor/supervisord.conf"], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: plain.run(["supervisorctl", "status"], check=False).stdout.count("RUNNING") == 2, 30, "both run")
        assert not plain.exists("/root/target"), plain.run("ls -l /root/target /var/log/stem /var/log/supervisor").stdout
        assert "ready" in plain.read(logs)
    finally:
        plain.run(["supervisorctl", "shutdown"], check=False)
        supervisor.wait(30)
        plain.run("rm -f /etc/supervisor/conf.d/stem.conf /root/target")


def as_first_process(plain, command, **env):
    """Runs a command as the guide's image does: process 1 of its own pid namespace, as the user stem."""
    plain.run("install -D -m 0644 /usr/src/stem-build/examples/files/libfiles.so /usr/lib/stem/libfiles.so && "
              "install -d -o stem -g stem -m 0755 /run/stem /var/log/stem && install -d -o stem -g stem -m 2770 /var/lib/stem && install -d -o stem -g stem -m 0750 /var/cache/stem")
    return plain.start(["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "setpriv", "--reuid=stem", "--regid=stem",
                        "--init-groups", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       env={"STEM_WORKER_APP": "/usr/lib/stem/libfiles.so", "STEM_RUNTIME_DIR": "/run/stem", "HOME": "/var/cache/stem", **env})


def workers(plain):
    return plain.run(["pgrep", "-f", "^/usr/bin/stem worker start"], check={0, 1}).lines()


def entry_point(plain):
    plain.write("/usr/local/bin/stem-entrypoint", block_of("file: plain /usr/local/bin/stem-entrypoint").replace("sleep 5", "sleep 0.3"), mode=0o755)
    return ["/usr/local/bin/stem-entrypoint"]


def test_the_container_entry_point_reports_a_worker_that_died(plain):
    """It ends with 1, and takes the others along."""
    process = as_first_process(plain, entry_point(plain), STEMD_NODES="web-1 web-2")
    pids = wait_until(lambda: (lambda lines: lines if len(lines) == 2 else None)(workers(plain)), what="both run")
    for _ in range(2):
        assert read_until(process, "ready: ")
    plain.kill(pids[0])
    assert process.wait(20) == 1
    assert not workers(plain)


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying '{text}'")


def test_the_container_entry_point_is_stopped_while_its_workers_still_wait_for_their_broker(plain):
    process = as_first_process(plain, entry_point(plain), STEMD_NODES="web-1 web-2", STEM_BROKER_URL="redis://127.0.0.1:9/0")
    wait_until(lambda: len(workers(plain)) == 2 and all(
        plain.run(["stem", "worker", "healthcheck", "--node", node, "--json"], check=False).json().get("state") == "starting" for node in ("web-1", "web-2")),
        what="both wait")
    shell = plain.run(["pgrep", "-f", "^/bin/sh /usr/local/bin/stem-entrypoint"]).lines()[0]
    plain.run(["kill", "-TERM", shell])
    assert process.wait(20) == 0, process.stdout.read()  # long before the workers would give up
    assert not workers(plain)


# ---- the image -------------------------------------------------------------------------------------------------------


def stages(text):
    """Of a Dockerfile: (base, name, [(word, rest)]) each."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append((base, name, []))
        elif word:
            found[-1][2].append((word, rest))
    return found


def closure(plain, packages):
    """These, what they depend on, and what every Debian has, as far as Debian's own image has it."""
    known = {}
    for line in plain.run(["dpkg-query", "-W", "-f", "${Package}\\t${Essential}\\t${Pre-Depends}, ${Depends}\\t${Provides}\\n"]).lines():
        name, essential, depends, provides = line.split("\t")
        known.setdefault(name, depends)
        for other in [name, *(word.split()[0] for word in provides.split(",") if word.strip())]:
            known.setdefault(other, name if other != name else depends)
        if essential == "yes":
            packages = [*packages, name]
    wanted, queue = set(), [*packages, "passwd"]
    while queue:
        name = queue.pop()
        if name in wanted:
            continue
        if name not in known:
            raise Skip(f"package {name} is not installed here")
        wanted.add(name)
        for part in known[name].split(","):
            choices = [re.split(r"[ (:]", choice.strip())[0] for choice in part.split("|") if choice.strip()]
            queue += [choice for choice in choices if choice in known][:1] or choices[:1]
    return sorted(wanted)


def make_root(plain, root, packages):
    """A root of nothing but the files of these packages, as an image is."""
    plain.run(f"rm -rf {root} && mkdir -p {root}/usr/bin {root}/usr/sbin {root}/usr/lib {root}/usr/lib64 {root}/proc {root}/dev {root}/tmp {root}/etc && "
              f"chmod 1777 {root}/tmp && cd {root} && ln -s usr/bin usr/sbin usr/lib usr/lib64 . && "
              f"dpkg -L {' '.join(packages)} 2>/dev/null | sort -u | grep -vE '^/usr/share/(doc|man|locale|info|i18n)/|^/etc/(passwd|group|shadow)' | "
              "while read -r path; do if [ -L \"$path\" ] || [ -f \"$path\" ]; then echo \"$path\"; fi; done >/tmp/files && "
              f"tar -cf - -P --no-recursion -T /tmp/files | tar -xf - -C {root} --keep-directory-symlink --strip-components=0 2>/tmp/tar.log; "
              f"cp /usr/share/base-passwd/passwd.master etc/passwd && cp /usr/share/base-passwd/group.master etc/group && touch etc/shadow && "
              "ls usr/bin/dash usr/sbin/useradd", timeout=60)


def in_image(root, words, user=None):
    """The command that runs `words` in the image, with its own mounts and processes."""
    script = f"mount -t proc proc {root}/proc && mount --rbind /dev {root}/dev && exec chroot {'--userspec=' + user + ':' + user if user else ''} {root} \"$@\""
    return ["unshare", "--mount", "--fork", "--pid", "--kill-child", "sh", "-c", script, "sh", *words]


@allow(seconds=180)
def test_the_images_of_the_guide_are_complete(plain, stage):
    """Every step of the Dockerfile but those that take the network or a compiler, in a root that holds what Debian's image does
    and the packages that the file installs, and nothing else; then what the images start."""
    found = stages(block_of("file: plain /srv/guide/Dockerfile"))
    names = [name for _, name, _ in found]
    assert names == ["build", "worker", "workers"], names
    for number, (base, _, steps) in enumerate(found):
        assert base == "debian:12" or base in names[:number], base
        for word, rest in steps:
            source = re.search(r"--from=(\S+)", rest) if word == "COPY" else None
            assert not source or source[1] in names[:number], rest
    build = " ".join(rest for word, rest in found[0][2] if word == "RUN")
    assert "meson setup" in build and "DESTDIR=/stage meson install" in build and "/stage/usr/lib/stem/libfiles.so" in build
    assert {option for option in re.findall(r"-D(\w+)=", build)} <= set(stage.options())

    root, env, settings = "/srv/image", {}, {}
    (_, _, worker), (_, _, many) = found[1:]
    try:
        for word, rest in [*worker, *many]:
            if word == "RUN" and "apt-get" in rest:
                packages = re.search(r"install --yes --no-install-recommends (.*?) &&", rest)[1].split()
                make_root(plain, root, closure(plain, packages))
            elif word == "RUN":
                plain.run(in_image(root, ["sh", "-ec", rest]), env={"PATH": "/usr/sbin:/usr/bin"})
            elif word == "COPY" and "--from=build" in rest:
                # The stage's own tree: the machine that the test runs on has all of the installed tree and more.
                plain.copy_in(stage.root, "/srv/tree")
                plain.run(f"cd /srv/tree && tar -c . | tar -x -C {root} --keep-directory-symlink --no-overwrite-dir && rm -rf /srv/tree && "
                          f"install -D -m 0644 /usr/src/stem-build/examples/files/libfiles.so {root}/usr/lib/stem/libfiles.so")
            elif word == "COPY":
                assert rest == "--chmod=0755 stem-entrypoint /usr/local/bin/", rest
                plain.write(f"{root}/usr/local/bin/stem-entrypoint", block_of("file: plain /usr/local/bin/stem-entrypoint"), mode=0o755)
            elif word == "ENV":
                env.update((key, quoted or bare) for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|(\S+))', rest))
            elif word == "ENTRYPOINT":
                settings.setdefault("ENTRYPOINT", []).append(json.loads(rest))
            else:
                settings[word] = rest
        assert settings["USER"] == "stem" and settings["VOLUME"] == settings["WORKDIR"] == "/var/lib/stem", settings
        alone, several = settings["ENTRYPOINT"]

        process = plain.start(in_image(root, [*alone, "--node", "web-1"], "stem"), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        read_until(process, "ready: ")
        plain.run(in_image(root, ["/usr/bin/stem", "worker", "healthcheck", "--node", "web-1"], "stem"), env=env)
        ran = plain.run(in_image(root, ["/usr/bin/stem", "enqueue", "files.sha256", "--args", '{"path": "/etc/passwd"}', "--wait"], "stem"), env=env)
        assert '"sha256"' in ran.stdout, ran
        plain.run(["pkill", "-TERM", "-f", "^/usr/bin/stem worker start --node web-1"])
        assert process.wait(20) == 0, process.stdout.read()

        process = plain.start(in_image(root, several, "stem"), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        read_until(process, "ready: ")
        read_until(process, "ready: ")
        plain.run(["pkill", "-TERM", "-f", "^/bin/sh /usr/local/bin/stem-entrypoint"])
        assert process.wait(20) == 0, process.stdout.read()
    finally:
        plain.run(f"rm -rf {root} /srv/tree", timeout=60)


def test_the_pod_of_the_guide_gives_workers_the_time_that_they_take():
    try:
        import yaml
    except ImportError:
        raise Skip("PyYAML is not installed (Debian package python3-yaml)") from None
    pods = [yaml.safe_load(text) for _, _, language, text in blocks("daemonization") if language == "yaml" and "Probe" in text]
    assert len(pods) == 1 and pods[0]["kind"] == "Pod", pods
    spec = pods[0]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= 660
    (container,) = spec["containers"]
    assert set(container) <= {"name", "image", "args", "livenessProbe", "volumeMounts"}, container
    assert container["livenessProbe"]["exec"]["command"][-1] == container["args"][-1]
