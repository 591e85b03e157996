"""The three brokers, as they are started, killed, stopped, filled up, and looked into from outside.

Each has
  url                     for STEM_BROKER_URL
  start(), kill(), freeze(), thaw(), close()      where there is a server
  leases(node)            how many jobs that node holds by leases that have not ended
  results()               state by id, of all results that are remembered
  dead()                  ids in the dead-letter queue
  leftovers()             what is not nothing though all jobs have ended and dead letters were purged: sentences
  contradictions()        what must never be, not even in the middle of everything: sentences
"""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

from box import execute, wait_until

import postgres_test

STARTS_WITHIN = 60
TEMPLATE = tempfile.TemporaryDirectory(prefix="stem-chaos-cluster-")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sqlite:
    name, has_server = "sqlite", False

    def __init__(self, directory, data=None):
        """`data`: another place for the database, such as a small disk."""
        self.path = Path(data or directory) / "stem.db"
        self.url = f"sqlite://{self.path}"

    def start(self):
        pass

    def close(self):
        pass

    def rows(self, sql, *values):
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as database:
            return database.execute(sql, values).fetchall()

    def leases(self, node):
        return self.rows("SELECT count(DISTINCT job.key) FROM lease JOIN job ON job.key BETWEEN first AND last WHERE consumer = ? AND until > ?",
                         node, int(time.time() * 1e6))[0][0]

    def results(self):
        found = self.rows("SELECT key, value FROM entry WHERE key LIKE 'result:%'")
        return {key.removeprefix("result:"): json.loads(value)["state"] for key, value in found}

    def dead(self):
        return [job for job, in self.rows("SELECT id FROM job JOIN dead USING (key)")]

    def leftovers(self):
        for table in ("job", "dead", "lease"):
            if rows := self.rows(f"SELECT * FROM {table} LIMIT 3"):
                yield f"table {table} is not empty: {str(rows)[:300]}"

    def contradictions(self):
        # One statement is one snapshot.
        now = int(time.time() * 1e6)
        for row in self.rows("SELECT a.first, a.last, a.consumer, b.first, b.last, b.consumer FROM lease a JOIN lease b ON a.first < b.first AND "
                             "b.first <= a.last WHERE a.until > ? AND b.until > ? LIMIT 3", now, now):
            yield f"two leases of one job: {row}"
        for row in self.rows("SELECT id FROM job WHERE (key >> 61 = 2) <> (key IN (SELECT key FROM dead)) LIMIT 3"):
            yield f"job {row[0]} is both dead and not"


# Everything that Redis holds, seen in one instant.
LOOK = """
local queues, places, pending, lines = redis.call('SMEMBERS', 'stem:queues'), {}, 0, {}
local function at(id, place) places[#places + 1] = {id, place} end
for _, queue in ipairs(queues) do
  for priority = 0, 9 do
    local stream = 'stem:stream:' .. queue .. (priority > 0 and ':p' .. priority or '')
    for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
      for i = 1, #entry[2], 2 do if entry[2][i] == 'id' then at(entry[2][i + 1], 's ' .. priority .. ' ' .. entry[1] .. ' ' .. queue) end end
    end
    if redis.call('EXISTS', stream) == 1 then
      local group = redis.pcall('XPENDING', stream, 'stem:group:' .. queue)
      if not group.err then pending = pending + group[1] end
    end
  end
  for _, wire in ipairs(redis.call('ZRANGE', 'stem:delayed:' .. queue, 0, -1)) do at(cjson.decode(wire).id, 'd') end
  for _, letter in ipairs(redis.call('LRANGE', 'stem:dead:' .. queue, 0, -1)) do at(cjson.decode(letter).id, 'x') end
  lines['stem:leases:' .. queue] = redis.call('ZCARD', 'stem:leases:' .. queue)
  lines['stem:lease:' .. queue] = redis.call('HLEN', 'stem:lease:' .. queue)
end
local ids = redis.call('HGETALL', 'stem:ids')
for _, key in ipairs({'stem:tries', 'stem:buried'}) do lines[key] = redis.call('HLEN', key) end
lines.pending = pending
return cjson.encode({places = places, ids = ids, lines = lines})
"""

KNOWN = {"stem:queues", "stem:ids", "stem:tries", "stem:buried", "stem:values", "stem:keys", "stem:expiry", "stem:version"}


class Redis:
    name, has_server = "redis", True

    execute = staticmethod(execute)  # where redis-cli is run
    bind = "127.0.0.1"

    def __init__(self, directory, data=None, fsync="always"):
        self.directory, self.data = Path(directory), Path(data or directory)
        self.fsync, self.port, self.process = fsync, free_port(), None
        self.url = f"redis://127.0.0.1:{self.port}?timeout=2s"

    def proxied(self, port):
        self.url = f"redis://127.0.0.1:{port}?timeout=2s"

    def run(self, *words, check=True):
        ran = self.execute(["redis-cli", "--raw", "-p", str(self.port), *words], timeout=30)
        if check and (ran.rc or ran.stdout.startswith("ERR ")):
            raise AssertionError(f"redis-cli {words[:1]}: {ran.stdout[:500]}{ran.stderr}")
        return ran.stdout

    def words(self):
        return ["redis-server", "--port", str(self.port), "--bind", self.bind, "--protected-mode", "no", "--dir", str(self.data), "--save", "", "--appendonly", "yes",
                "--appendfsync", self.fsync, "--auto-aof-rewrite-percentage", "0"]

    def is_up(self):
        return self.run("ping", check=False).strip() == "PONG"

    def start(self):
        def answers():
            if self.process is None or self.process.poll() is not None:
                with open(self.directory / "redis.log", "ab") as log:
                    self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            return self.is_up()
        wait_until(answers, STARTS_WITHIN, "Redis answers", interval=0.05)

    def kill(self, _chance=None):
        """True: it does not come back by itself."""
        self.process.kill()
        self.process.wait()
        return True

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def look(self):
        seen = json.loads(self.run("eval", LOOK, "0"))
        return {key: value or ({} if key == "lines" else []) for key, value in seen.items()}  # Lua's empty table is an object

    def hash(self, key):
        text = self.run("eval", f"return cjson.encode(redis.call('HGETALL', '{key}'))", "0")
        flat = json.loads(text) or []
        return dict(zip(flat[::2], flat[1::2]))

    def leases(self, node):
        held = [line.split(" ") for line in self.hash("stem:lease:default").values()]
        return sum(words[2] == node for words in held)

    def results(self):
        return {key.removeprefix("result:"): json.loads(value.split(" ", 2)[2])["state"]
                for key, value in self.hash("stem:values").items() if key.startswith("result:")}

    def dead(self):
        return [job for job, place in self.look()["places"] if place == "x"]

    def leftovers(self):
        seen = self.look()
        for job, place in list(seen["places"])[:3]:
            yield f"job {job} is left ({place})"
        for what, count in sorted(seen["lines"].items()):
            if count:
                yield f"{what} holds {count}"
        if seen["ids"]:
            yield f"stem:ids holds {str(seen['ids'][:6])}"
        for key in self.run("--scan").split():
            if key not in KNOWN and not key.startswith(("stem:stream:", "stem:wake:")):
                yield f"key {key} is left"

    def contradictions(self):
        seen = self.look()
        ids = dict(zip(seen["ids"][::2], seen["ids"][1::2]))
        places = {}
        for job, place in seen["places"]:
            if place.startswith("s ") and ids.get(job) != place:
                continue  # an entry that has ended, which idle workers clear away
            if job in places:
                yield f"job {job} is in two places: {places[job]}, {place}"
            places[job] = place
        for job, said in ids.items():
            if job not in places:
                yield f"job {job} should be at '{said}', and is nowhere"


class Postgres(postgres_test.Server):
    name, has_server = "postgres", True

    def __init__(self, directory, data=None):
        self.place = Path(data or directory) / "pg"
        self.place.mkdir()
        # Sockets are on the large disk: a full one is the database's trouble, not the path's to it.
        os.chmod(directory, 0o755)
        super().__init__(str(self.place), settings=("listen_addresses=127.0.0.1", "wal_keep_size=0", "min_wal_size=32MB", "max_wal_size=64MB"),
                         rules="host all all 127.0.0.1/32 scram-sha-256", port=free_port())
        self.proxied(self.port)

    def proxied(self, port):
        self.url = f"postgresql://app:{postgres_test.PASSWORD}@127.0.0.1:{port}/jobs?timeout=2s&connect_timeout=2"

    def is_up(self):
        return self.process.poll() is None and execute([self.program("pg_isready"), "-q", "-h", self.directory, "-p", str(self.port)]).rc == 0

    def run(self, name, *arguments):
        # A cluster takes seconds to make, and is the same each time.
        if name == "initdb":
            if not os.path.exists(TEMPLATE.name + "/data"):
                os.chmod(TEMPLATE.name, 0o755)
                cluster = TEMPLATE.name + "/data"
                if self.as_owner:
                    os.chown(TEMPLATE.name, self.as_owner["user"], self.as_owner["group"])
                super().run(name, *(cluster if word == self.data else word for word in arguments))
            subprocess.run(["cp", "-a", TEMPLATE.name + "/data", self.data], check=True)
        else:
            super().run(name, *arguments)

    def start(self):
        if self.process is None or self.process.poll() is not None:
            super().start()

    def tree(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="utf-8") as file:
            return [self.process.pid, *map(int, file.read().split())]

    def signal_all(self, number):
        for pid in self.tree():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill(self, chance=None):
        """All of it; or one backend, after which PostgreSQL throws out all clients and recovers by itself: False."""
        if chance is None or chance.random() < 0.7:
            self.stop(signal.SIGKILL)
            return True
        backends = self.psql("SELECT pid FROM pg_stat_activity WHERE usename = 'app'").split()
        if backends:
            try:
                os.kill(int(chance.choice(backends)), signal.SIGKILL)
            except ProcessLookupError:
                pass
        return False

    def freeze(self):
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def close(self):
        if self.process and self.process.poll() is None:
            self.thaw()
            try:
                self.stop(signal.SIGQUIT)  # at once, but with its shared memory tidied up
            except subprocess.TimeoutExpired:
                self.stop(signal.SIGKILL)

    def psql(self, sql):
        ran = execute([self.program("psql"), "-X", "-q", "-A", "-t", "-h", self.directory, "-p", str(self.port), "-U", "owner", "-d", "jobs", "-c", sql],
                      timeout=30)
        if ran.rc:
            raise AssertionError(f"psql: {ran.stderr}")
        return ran.stdout

    def leases(self, node):
        return int(self.psql(f"SELECT count(*) FROM stem.job WHERE consumer = '{node}' AND token <> 0 AND until > extract(epoch FROM now()) * 1e6"))

    def results(self):
        text = self.psql("SELECT json_object_agg(substr(key, 8), convert_from(value, 'UTF8')::json->>'state') FROM stem.entry WHERE key LIKE 'result:%'")
        return json.loads(text.strip() or "{}")

    def dead(self):
        return self.psql("SELECT id FROM stem.job WHERE dead_at IS NOT NULL").split()

    def leftovers(self):
        if rows := self.psql("SELECT id, queue, until, token, consumer, dead_at FROM stem.job LIMIT 3").strip():
            yield f"table job is not empty: {rows}"

    def contradictions(self):
        for line in self.psql("SELECT id FROM stem.job WHERE dead_at IS NOT NULL AND (due IS NOT NULL OR until > extract(epoch FROM now()) * 1e6) "
                              "OR (due IS NOT NULL AND token <> 0 AND until > extract(epoch FROM now()) * 1e6)").split():
            yield f"job {line} is dead, delayed or leased at the same time"
        for line in self.psql("SELECT id FROM stem.job GROUP BY id HAVING count(*) > 1").split():
            yield f"job {line} is there twice"


STORES = {"sqlite": Sqlite, "redis": Redis, "postgres": Postgres}


def missing(name):
    """Why there can be no such server here, or None."""
    program = {"redis": "redis-server", "postgres": Postgres.program("initdb")}.get(name)
    return f"{program} is not installed; tool/setup installs it" if program and not shutil.which(program) else None
