"""The program on its command line: what it prints, what it refuses, and with which exit status."""

import hashlib
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager

from box import allow, execute, wait_until

BAD_MODULES = {
    "none": 'extern "C" int something_else() { return 0; }\n',
    "abi": '#include <stem/task.hpp>\n'
           'extern "C" const int stem_module_abi_version = 99;\n'
           'extern "C" void stem_register_tasks(stem::Registry&) {}\n',
    "twice": '#include <stem/module.hpp>\n'
             'STEM_MODULE(tasks) { tasks.add("a", [](stem::TaskContext&) {}); tasks.add("a", [](stem::TaskContext&) {}); }\n',
}


class Place:
    """A private directory with a broker in it, and the program to talk to it."""

    def __init__(self, stage, tmp):
        self.stage, self.tmp = stage, tmp
        self.files = str(stage.built("examples/files/libfiles.so"))
        self.env = stage.environment(STEM_BROKER_URL=f"sqlite://{tmp}/stem.db", STEM_RUNTIME_DIR=f"{tmp}/run")

    def stem(self, *words, rc=0, input=None, **env):
        ran = execute(["stem", *map(str, words)], env={**self.env, **env}, input=input, cwd=self.tmp)
        assert ran.rc == rc, f"exit status {ran.rc}, not {rc}\n{ran.stdout}{ran.stderr}"
        return ran

    def refused(self, rc, *words, **env):
        """The one line on standard error of a command that must fail so, with nothing on standard output."""
        ran = self.stem(*words, rc=rc, **env)
        assert ran.stdout == "", ran.stdout
        lines = ran.stderr.splitlines()
        assert len(lines) == 1, ran.stderr
        return lines[0]

    @contextmanager
    def worker(self, *words, **env):
        """A worker in the foreground; killed at the end if it still runs."""
        command = ["stem", "worker", "start", "--node", "w", "--app", self.files, *map(str, words)]
        log = open(f"{self.tmp}/worker.log", "ab")
        process = subprocess.Popen(command, env={**self.env, **env}, cwd=self.tmp, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            log.close()

    def log(self):
        return open(f"{self.tmp}/worker.log", errors="replace").read()


def test_the_help_names_every_command_and_every_command_has_help(stage, tmp):
    place = Place(stage, tmp)
    page = place.stem("--help").stdout
    commands = [line.split("  ")[1].removeprefix("stem ") for line in page.splitlines() if line.startswith("  stem ")]
    assert {"worker start", "worker multi", "enqueue", "result", "queues"} <= set(commands), commands
    for command in commands:
        text = place.stem(*command.split(), "--help").stdout
        assert "Usage: stem " + command in text and "--json" in text, text


def test_wrong_command_lines_get_one_line_and_64(stage, tmp):
    place = Place(stage, tmp)
    assert place.refused(64, "enque", "x") == "stem: unknown command 'enque'; did you mean `stem enqueue`?"
    assert "did you mean `stem worker start`?" in place.refused(64, "worker", "strat")
    assert "--help" in place.refused(64, "frobnicate\x1b[31m") and "\x1b" not in place.refused(64, "frobnicate\x1b[31m")
    assert place.refused(64, "enqueue").startswith("stem enqueue: ")
    assert "--nonsense" in place.refused(64, "queues", "--nonsense")
    assert "priority 12" in place.refused(64, "enqueue", "t", "-p", "12")
    assert "'5' is not a duration" in place.refused(64, "enqueue", "t", "--delay", "5")
    assert "bad task name '../x'" in place.refused(64, "enqueue", "../x")
    assert "bad queue name 'a b'" in place.refused(64, "enqueue", "t", "-q", "a b")
    assert "bad job id" in place.refused(64, "enqueue", "t", "--id", "a b")
    assert "bad node name '%n'" in place.refused(64, "worker", "start", "--node", "%n", "--app", place.files)
    assert "--concurrency" in place.refused(64, "worker", "start", "-c", "0", "--app", place.files)
    assert not os.path.exists(f"{tmp}/stem.db"), "something was touched"


def test_bad_arguments_of_a_job_are_65_and_nothing_is_enqueued(stage, tmp):
    place = Place(stage, tmp)
    for bad in ("[1]", "{", "", "null", '{"a": NaN}'):
        assert "is not a JSON object" in place.refused(65, "enqueue", "t", "--args", bad)
    assert "nested deeper than 512" in place.refused(65, "enqueue", "t", "--args", '{"a":' + "[" * 60000 + "]" * 60000 + "}")
    assert "is not a time" in place.refused(65, "enqueue", "t", "--eta", "tomorrow")
    assert place.stem("queues").stdout == "no queue holds a job\n"


def test_bad_configuration_is_78_and_names_the_variable(stage, tmp):
    place = Place(stage, tmp)
    line = place.refused(78, "queues", STEM_WORKER_CONCURRENCY="many")
    assert line == "stem: STEM_WORKER_CONCURRENCY='many': must be a whole number from 1 to 1024"
    assert "gopher" in place.refused(78, "queues", STEM_BROKER_URL="gopher://x")
    ran = place.stem("queues", STEM_BROKR_URL="x")
    assert "did you mean STEM_BROKER_URL?" in ran.stderr
    assert "nothing to run" in place.refused(78, "worker", "start")


def test_an_environment_file_is_read_as_systemd_reads_it_and_a_bad_one_stops_everything(stage, tmp):
    place = Place(stage, tmp)
    (tmp / "good.env").write_text('# comment\nSTEM_DEFAULT_QUEUE="mail"\n')
    place.stem("enqueue", "t", "--env-file", tmp / "good.env")
    assert place.stem("queues", "--json").json()[0]["queue"] == "mail"
    (tmp / "bad.env").write_text("STEM_DEFAULT_QUEUE=mail\nno equals sign\n")
    assert place.refused(78, "queues", "--env-file", tmp / "bad.env").startswith(f"stem: {tmp}/bad.env:2: ")
    assert f"{tmp}/none.env" in place.refused(66, "queues", "--env-file", tmp / "none.env")


def test_a_job_is_enqueued_once_under_one_id_and_seen_in_its_queue(stage, tmp):
    place = Place(stage, tmp)
    assert place.stem("enqueue", "files.sha256", "--id", "one", "-q", "mail").stdout == "one\n"
    place.stem("enqueue", "files.sha256", "--id", "one", "-q", "mail")
    place.stem("enqueue", "files.sha256", "--delay", "1h", "-q", "mail")
    row, = place.stem("queues", "--json").json()
    assert (row["queue"], row["ready"], row["delayed"], row["leased"], row["dead"]) == ("mail", 1, 1, 0, 0), row
    assert "QUEUE" in place.stem("queues").stdout
    assert place.stem("result", "one").stdout.split() == ["one", "queued"]
    assert "no job nobody is known" in place.refused(66, "result", "nobody")


def test_jobs_are_enqueued_from_lines_and_a_bad_line_is_named(stage, tmp):
    place = Place(stage, tmp)
    ids = place.stem("enqueue", "t", "--args-from", "-", input='{"n":1}\n\n{"n":2}\n').stdout.split()
    assert len(set(ids)) == 2
    (tmp / "jobs").write_text('{"n":1}\n' * 600 + "oops\n")
    ran = place.stem("enqueue", "t", "--args-from", tmp / "jobs", rc=65)
    assert ran.stderr == (f"stem: {tmp}/jobs:601 is not a JSON object; write for example {{\"path\": \"/etc/fstab\"}}; "
                          "500 jobs of the lines before were enqueued\n")
    assert len(ran.stdout.split()) == 500
    assert "cannot read" in place.refused(66, "enqueue", "t", "--args-from", tmp / "none")
    assert "cannot read" in place.refused(66, "enqueue", "t", "--args-from", tmp)


def test_tasks_of_a_module_are_listed(stage, tmp):
    place = Place(stage, tmp)
    names = [row["name"] for row in place.stem("tasks", "ls", "--app", place.files, "--json").json()]
    assert "files.sha256" in names and names == sorted(names)
    assert "files.sha256" in place.stem("tasks", "ls", "--app", place.files).stdout
    assert "no task module" in place.refused(64, "tasks", "ls")


@allow(seconds=180)
def test_modules_that_cannot_be_loaded_are_refused_with_one_line(stage, tmp):
    place = Place(stage, tmp)
    include = f"{stage.root}/usr/include"
    library = f"{stage.root}/usr/{stage.options()['libdir']}"
    for name, text in BAD_MODULES.items():
        (tmp / f"{name}.cpp").write_text(text)
        built = execute(["g++", "-std=c++20", "-shared", "-fPIC", f"-I{include}", f"-L{library}", "-o", tmp / f"{name}.so",
                         tmp / f"{name}.cpp", "-lstem", "-lspdlog", "-lfmt"], timeout=120)
        assert built.rc == 0, built.stderr
    (tmp / "text.so").write_text("not a shared object\n")
    start = ("worker", "start", "--app")
    assert "does not export stem_register_tasks" in place.refused(78, *start, tmp / "none.so")
    assert "built for ABI version 99, this stem has" in place.refused(78, *start, tmp / "abi.so")
    assert "task a is registered twice" in place.refused(78, *start, tmp / "twice.so")
    assert "cannot load task module" in place.refused(78, *start, tmp / "text.so")
    assert "No such file" in place.refused(66, *start, tmp / "missing.so")
    assert "is not a file" in place.refused(78, *start, tmp)


def test_a_worker_does_the_jobs_and_their_results_are_right(stage, tmp):
    place = Place(stage, tmp)
    (tmp / "data").write_bytes(b"stem\n" * 1000)
    with place.worker() as process:
        ran = place.stem("enqueue", "files.sha256", "--args", json.dumps({"path": f"{tmp}/data"}), "--wait", "--json")
        result = ran.json()
        assert result["state"] == "succeeded" and result["meta"]["worker"] == "w"
        assert hashlib.sha256((tmp / "data").read_bytes()).hexdigest() in json.dumps(result["payload"])
        failed = place.stem("enqueue", "files.sha256", "--args", '{"path":"/nowhere"}', "--wait", rc=1)
        assert "/nowhere" in failed.stdout
        assert place.stem("queues", "--json").json()[0]["dead"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, place.log()


def test_waiting_for_a_job_that_nobody_runs_ends_with_75(stage, tmp):
    place = Place(stage, tmp)
    began = time.monotonic()
    ran = place.stem("enqueue", "t", "--id", "one", "--wait", "--timeout", "300ms", rc=75)
    assert time.monotonic() - began < 5
    assert ran.stderr == "stem: job one has not ended in time; `stem result one --wait` goes on waiting\n"


def test_a_detached_worker_is_ready_when_the_command_returns_and_a_bad_one_tells_why(stage, tmp):
    place = Place(stage, tmp)
    start = ("worker", "start", "--node", "d", "--app", place.files, "--detach", "--pidfile", f"{tmp}/%n.pid",
             "--logfile", f"{tmp}/log/%n.log")
    pid = place.stem(*start, "--json").json()["pid"]
    try:
        assert int((tmp / "d.pid").read_text()) == pid
        assert place.stem("enqueue", "files.lines", "--args", '{"path":"/etc/passwd"}', "--wait", "--json").json()["state"] == "succeeded"
        again = place.stem(*start, rc=75)
        assert str(pid) in again.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (tmp / "d.pid").exists(), what="the pidfile to go away with the worker")
    ran = place.stem(*start, rc=78, STEM_BROKER_URL="gopher://x")
    assert "gopher" in ran.stderr


def test_lost_output_is_a_failure(stage, tmp):
    place = Place(stage, tmp)
    with open("/dev/full", "w") as full:
        done = subprocess.run(["stem", "--help"], env=place.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 73 and "cannot write to standard output" in done.stderr


def test_the_files_of_stem_env_file_are_read_and_checked(stage, tmp):
    place = Place(stage, tmp)
    first, second, bad = f"{tmp}/first file.env", f"{tmp}/second.env", f"{tmp}/bad.env"
    open(first, "w").write("STEM_LOG_LEVEL=loud\n")
    open(second, "w").write("STEM_LOG_LEVEL=info\n")
    open(bad, "w").write("# fine\nSTEM_WORKER_QUEUES mail\n")
    assert place.refused(78, "queues", STEM_ENV_FILE=f"'{first}'").startswith("stem: STEM_LOG_LEVEL='loud'")
    place.stem("queues", STEM_ENV_FILE=f"'{first}' {tmp}/missing.env {second}")
    place.stem("queues", "--env-file", second, STEM_ENV_FILE=f"'{first}'")
    place.stem("queues", STEM_ENV_FILE=" ")
    assert f"{bad}:2: " in place.refused(78, "queues", STEM_ENV_FILE=f"{second} {bad}")
    assert "never closed" in place.refused(78, "queues", STEM_ENV_FILE=f"'{second}")


def test_a_routing_file_sends_jobs_where_it_says_and_is_printed_so_that_it_can_be_read_again(stage, tmp):
    place = Place(stage, tmp)
    sample = place.stem("routing", "dump", "--sample").stdout
    as_json = place.stem("routing", "dump", "--sample", "--json").stdout
    assert json.loads(as_json)["routes"][0]["target"] == {"type": "queue", "name": "critical"}, as_json
    file = f"{tmp}/routing.yaml"
    for text in (sample, as_json):
        with open(file, "w") as routing:
            routing.write(text)
        assert place.stem("routing", "dump", "--json", STEM_ROUTING_CONFIG=file).stdout == as_json
        again = place.stem("routing", "dump", STEM_ROUTING_CONFIG=file).stdout
        with open(file, "w") as routing:
            routing.write(again)
        assert place.stem("routing", "dump", "--json", STEM_ROUTING_CONFIG=file).stdout == as_json
    place.stem("enqueue", "example.task", STEM_ROUTING_CONFIG=file)
    place.stem("enqueue", "other.task", "--priority", "9", STEM_ROUTING_CONFIG=file)
    assert [row["queue"] for row in json.loads(place.stem("queues", "--json").stdout)] == ["critical", "default"]
    with open(file, "w") as routing:
        routing.write("queues:\n  default:\nroutes:\n  - match: {task: x}\n    target: {name: typo}\n")
    wrong = f"{file}:5: queue 'typo' is not among `queues`"
    for words in (("routing", "dump"), ("enqueue", "x"), ("worker", "start", "--app", place.files), ("scheduler", "start")):
        assert place.refused(78, *words, STEM_ROUTING_CONFIG=file).endswith(wrong), words
    assert "STEM_ROUTING_CONFIG" in place.refused(66, "routing", "dump", STEM_ROUTING_CONFIG=f"{tmp}/none.yaml")
