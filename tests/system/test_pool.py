"""Handlers in processes of their own, under the shipped unit: what crashes, what is killed, and what is left behind."""

from box import allow, execute, wait_until
from workers import BROKER, Workers


def result(box, job):
    ran = box.run(["stem", "result", job, "--wait", "--timeout", "30s", "--json"], user="stem", env={"STEM_BROKER_URL": BROKER}, check={0, 1})
    return ran.json()


def children(health):
    return {child["pid"] for child in health["pool"]["children"]}


def empty(workers, node, before):
    """Waits until none of the processes is there any more."""
    wait_until(lambda: not [pid for pid in before if workers.box.run(["test", "-d", f"/proc/{pid}"], check={0, 1}).rc == 0], 15,
               f"the processes of {node} have ended")


@allow(seconds=90)
def test_a_handler_that_crashes_fails_its_job_alone_and_the_journal_says_where_it_was(box):
    workers = Workers(box)
    workers.start("p1", "--pool", "processes", "-c", "2")
    main = workers.pid("p1")
    health = workers.health("p1")
    assert health["pool"]["kind"] == "processes", health
    wait_until(lambda: len(children(workers.health("p1"))) == 2, 10, "two children")
    # The worker, the process that starts children, and two of these.
    group = workers.processes("p1")
    assert len(group) == 4 and str(main) in group, group
    titles = {pid: box.read(f"/proc/{pid}/comm").strip() for pid in group}
    assert set(titles.values()) == {"stem", "stem:p1-fork", "stem:p1-1", "stem:p1-2"}, titles

    slow = workers.enqueue("effect.sleep", '{"ms": 3000}').strip()
    job = workers.enqueue("effect.crash", "{}", "--max-retries", "0").strip()
    crashed = result(box, job)
    assert crashed["state"] == "failed", crashed
    assert crashed["error"]["type"] == "SIGSEGV", crashed
    assert "at address 0x8" in crashed["error"]["message"], crashed
    assert "libeffects.so+0x" in crashed["error"]["stack"].splitlines()[0], crashed["error"]["stack"]
    assert result(box, slow)["state"] == "succeeded"
    assert workers.pid("p1") == main, "the worker was replaced"

    # Not by unit: journald looks that up, and may find the process gone.
    entries = box.journal(None, f"STEM_TASK_ID={job}")
    said = next(entry for entry in entries if entry["MESSAGE"] == "about to crash")
    assert said["_PID"] not in (str(main), *(pid for pid in group if titles[pid] == "stem:p1-fork")), said
    assert said["SYSLOG_IDENTIFIER"] == "stem" and said["STEM_NODE"] == "p1" and said["STEM_TASK"] == "effect.crash", said
    told = next(entry for entry in entries if entry["MESSAGE"].startswith("the handler's process"))
    assert told["MESSAGE_ID"] == "a8bc282d2d8647779d0f382d2214cf44", told
    assert "libeffects.so+0x" in told["MESSAGE"] and told["_PID"] == str(main), told

    where = result(box, workers.enqueue("effect.pid").strip())["payload"]
    assert where != main and where in children(workers.health("p1"))

    group = workers.processes("p1")
    workers.multi("stop", "p1")
    empty(workers, "p1", group)


@allow(seconds=90)
def test_a_worker_of_processes_that_is_killed_leaves_none_behind_and_comes_back(box):
    workers = Workers(box)
    workers.start("pool-2", "--pool", "processes", "-c", "2")
    workers.enqueue("effect.hang")
    wait_until(lambda: workers.health("pool-2")["inflight"] == 1, 10, "the handler runs")
    main, group = workers.pid("pool-2"), workers.processes("pool-2")
    assert len(group) == 4, group
    box.run(["kill", "-KILL", str(main)])
    empty(workers, "pool-2", group)
    workers.replaced("pool-2", main, 30)


@allow(seconds=90)
def test_a_handler_past_its_hard_time_limit_is_killed_and_the_worker_is_healthy(box):
    workers = Workers(box)
    box.write("/etc/stem/pool-3.env", "STEM_WORKER_POOL=processes\nSTEM_TASK_TIME_LIMIT=1s\nSTEM_WORKER_CONCURRENCY=1\n")
    workers.start("pool-3")
    main = workers.pid("pool-3")
    job = workers.enqueue("effect.hang", "{}", "--max-retries", "0").strip()
    over = result(box, job)
    assert over["error"]["type"] == "hard-time-limit", over
    assert workers.health("pool-3")["status"] == "ok"
    assert result(box, workers.enqueue("effect.pid").strip())["state"] == "succeeded"
    assert workers.pid("pool-3") == main


@allow(seconds=90)
def test_the_log_files_of_processes_carry_their_index(box):
    workers = Workers(box)
    workers.start("pool-4", "--pool", "processes", "-c", "1", "--logfile", "/var/log/stem/%n%I.log")
    job = workers.enqueue("effect.crash", "{}", "--max-retries", "0").strip()
    assert result(box, job)["error"]["type"] == "SIGSEGV"
    assert "about to crash" in box.read("/var/log/stem/pool-4-1.log")
    assert "was ended by SIGSEGV" in box.read("/var/log/stem/pool-4.log")
    box.run(["mv", "/var/log/stem/pool-4-1.log", "/var/log/stem/old.log"])
    workers.multi("reload", "pool-4")
    job = workers.enqueue("effect.crash", "{}", "--max-retries", "0").strip()
    assert result(box, job)["error"]["type"] == "SIGSEGV"
    assert "about to crash" in box.read("/var/log/stem/pool-4-1.log")
    assert box.read("/var/log/stem/old.log").count("about to crash") == 1


def test_limits_for_children_are_refused_where_there_are_none(stage):
    start = ["stem", "worker", "start", "--app", str(stage.built("tests/modules/libeffects.so"))]
    for words in (["--max-tasks-per-child", "5"], ["--max-memory-per-child", "512M"]):
        ran = execute([*start, *words], env=stage.environment())
        assert ran.rc == 64 and ran.stderr.count("\n") == 1 and "--pool processes" in ran.stderr, ran
    ran = execute(["stem", "worker", "start", "--command", "sleep 1", "--pool", "processes"], env=stage.environment())
    assert ran.rc == 64 and "the program of --command" in ran.stderr, ran
    ran = execute(start, env=stage.environment(STEM_WORKER_MAX_TASKS_PER_CHILD="5"))
    assert ran.rc == 78 and "STEM_WORKER_POOL=processes" in ran.stderr, ran
