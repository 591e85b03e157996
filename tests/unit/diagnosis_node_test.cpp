// Checks of what a node consists of: programs, accounts, files, variables, queues, processes. All of it is
// real.

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <sched.h>
#include <cstdlib>
#include <fstream>

#include "diagnosis_rig.hpp"
#include "storage/open.hpp"

using namespace stem;
using namespace std::chrono_literals;
using enum Severity;

namespace {

/// Runs a check as someone else than root would see the files: root may do everything.
Account nobody() {
  return *Account::named("nobody");
}
bool is_root() {
  return getuid() == 0;
}

void write(const std::string& path, const std::string& text, mode_t mode = 0644) {
  std::ofstream(path) << text;
  chmod(path.c_str(), mode);
}

}  // namespace

TEST_CASE("diagnosis: the program of the unit must be there, and be this one") {
  Rig rig;
  rig.s.program = "/nowhere/stem";
  only(rig, "program", error, "/nowhere/stem cannot be run", "ExecStart=");
  const auto other = rig.dir / "stem";
  std::filesystem::copy_file("/bin/true", other);
  rig.s.program = other;
  only(rig, "program", warning, "not the stem that checks here");
}

TEST_CASE("diagnosis: a node needs something to run") {
  Rig rig;
  rig.s.program = rig.dir / "stem";
  std::filesystem::create_symlink(std::filesystem::read_symlink("/proc/self/exe"), rig.s.program);
  rig.s.config->command.clear();
  only(rig, "work", error, "nothing to run", "STEM_WORKER_APP");
}

TEST_CASE("diagnosis: a foreign program must be found, be executable, and have its interpreter") {
  Rig rig;
  rig.s.config->command = "no-such-program-anywhere --serve";
  only(rig, "command", error, "no program 'no-such-program-anywhere' is in PATH", "STEM_WORKER_COMMAND");
  rig.s.config->command = "/bin/true 'unclosed";
  CHECK(rig.complaints() == "command");
  const auto script = rig.dir / "work.py";
  write(script, "#!/usr/bin/no-such-python3\n", 0644);
  rig.s.config->command = script;
  only(rig, "command", error, "cannot be run by", "chmod a+rx");
  chmod(script.c_str(), 0755);
  only(rig, "command", error, "is a script for /usr/bin/no-such-python3", "first line");
  write(script, "#! /bin/sh -e\n", 0755);
  CHECK(rig.complaints() == "");
  rig.s.config->command = rig.dir.path();
  only(rig, "command", error, "directory");
}

TEST_CASE("diagnosis: a program that only root may run is of no use to the worker") {
  if (!is_root()) return;
  Rig rig;
  const auto program = rig.dir / "secret-program";
  std::filesystem::copy_file("/bin/true", program);
  chmod(program.c_str(), 0700);
  rig.s.account = nobody();
  rig.s.config->command = program;
  CHECK(rig.of("command").severity == error);
  CHECK(rig.of("command").text == program + " cannot be run by nobody: Permission denied");
}

TEST_CASE("diagnosis: task modules are loaded for a trial, in a process of their own") {
  Rig rig;
  rig.s.config->command.clear();
  rig.s.config->apps = {std::getenv("EFFECTS_MODULE")};
  CHECK(rig.complaints() == "");
  CHECK(rig.of("modules").text.find("tasks)") != std::string::npos);
  rig.s.config->apps = {"/nowhere/libx.so"};
  only(rig, "modules", error, "task module /nowhere/libx.so: No such file or directory", "STEM_WORKER_APP");
  rig.s.config->apps = {rig.dir.file("text.so", "text")};
  only(rig, "modules", error, "cannot load task module");
  rig.s.config->apps = {std::getenv("CRASHING_MODULE")};
  only(rig, "modules", error, "crashes when it is loaded (signal 6)", "static objects");
}

TEST_CASE("diagnosis: user and group of the worker must exist, and should not be root's") {
  Rig rig;
  rig.s.user = "no-such-user";
  rig.s.account.reset();
  only(rig, "user", error, "there is no user no-such-user", "useradd");
  rig.s.user = "nobody";
  rig.s.group = "no-such-group";
  only(rig, "group", error, "there is no group no-such-group", "groupadd");
  if (!is_root()) return;
  rig.s.user = "root";
  rig.s.account = Account::self();
  CHECK(rig.of("user").severity == warning);
}

TEST_CASE("diagnosis: whoever may not look is told so") {
  if (!is_root()) return;
  Rig rig;
  rig.s.user = "daemon";
  rig.s.account = Account::named("daemon");
  // As a person who is neither root nor the worker's user sees it.
  ChildProcess person([&] {
    if (!become(stranger)) return 1;
    const auto caller = rig.of("caller");
    if (caller.severity != warning ||
        caller.text.find("cannot find out what daemon may do") == std::string::npos)
      return 2;
    if (!rig.of("broker").skipped || !rig.of("runtime-directory").skipped) return 3;
    return rig.of("command").skipped ? 0 : 4;
  });
  CHECK(person.wait() == 0);
}

TEST_CASE("diagnosis: the runtime directory must be there while the worker runs") {
  Rig rig;
  std::filesystem::rename(rig.dir / "run", rig.dir / "moved");
  const auto found = rig.of("runtime-directory");
  CHECK(found.severity == error);
  CHECK(found.text.find("is gone, though the worker runs") != std::string::npos);
}

TEST_CASE("diagnosis: a runtime directory that is no directory, or everybody's, is an error") {
  Rig rig;
  chmod((rig.dir / "run").c_str(), 0777);
  only(rig, "runtime-directory", error, "can be written by everybody", "chmod o-w");
  rig.stop();
  std::filesystem::remove_all(rig.dir / "run");
  rig.dir.file("run", "");
  CHECK(rig.of("runtime-directory").text.find("is not a directory") != std::string::npos);
}

TEST_CASE("diagnosis: directories must belong to the worker's user, or to root") {
  if (!is_root()) return;
  Rig rig;
  chown((rig.dir / "state").c_str(), stranger, stranger);
  only(rig, "state-directory", error, "belongs to " + std::to_string(stranger), "install -d -o root");
  chown((rig.dir / "state").c_str(), 0, 0);
  rig.s.account = nobody();
  CHECK(rig.of("state-directory").text ==
        "nobody cannot write in " + rig.dir / "state" + ": Permission denied");
}

TEST_CASE("diagnosis: a directory that the worker could not make is an error before the start") {
  if (!is_root()) return;
  Rig rig;
  rig.stop();
  rig.s.unit->runtime_directories.clear();
  rig.s.account = nobody();
  rig.s.runtime_dir = rig.dir / "state/of/its/own";
  CHECK(rig.of("runtime-directory")
            .text.find("nobody cannot make it: " + rig.dir / "state" + ": Permission denied") !=
        std::string::npos);
  chown((rig.dir / "state").c_str(), nobody().user, nobody().group);
  CHECK(rig.of("runtime-directory").text == rig.dir / "state/of/its/own is made at the start");
}

TEST_CASE("diagnosis: the working directory must be there") {
  Rig rig;
  rig.s.workdir = rig.dir / "none";
  only(rig, "working-directory", error, "No such file or directory", "WorkingDirectory=");
  rig.s.workdir = rig.dir.file("file", "");
  only(rig, "working-directory", error, "is not a directory");
}

TEST_CASE("diagnosis: a log file must be a file that the worker can write") {
  Rig rig;
  rig.s.logfile = rig.dir / "log/web-1.log";
  CHECK(rig.complaints() == "");
  CHECK(rig.of("log-file").text.find("is made at the start") != std::string::npos);
  rig.s.health.logfile = rig.s.logfile;
  only(rig, "log-file", warning, "is gone, and the worker writes where nobody looks", "reload");
  rig.s.health.logfile.clear();
  std::filesystem::create_directory(rig.s.logfile);
  only(rig, "log-file", error, "is a directory", "--logfile");
  if (!is_root()) return;
  std::filesystem::remove(rig.s.logfile);
  write(rig.s.logfile, "", 0640);
  rig.s.account = nobody();
  CHECK(rig.of("log-file").text ==
        "nobody cannot write the log file " + rig.s.logfile + ": Permission denied");
  std::filesystem::remove(rig.s.logfile);
  std::filesystem::create_symlink("/etc/passwd", rig.s.logfile);
  lchown(rig.s.logfile.c_str(), stranger, stranger);
  CHECK(rig.of("log-file").text.find("is a symbolic link that " + std::to_string(stranger) + " made") !=
        std::string::npos);
}

TEST_CASE("diagnosis: a full file system is an error, a nearly full one a warning") {
  if (!is_root()) return;
  Rig rig;
  ChildProcess inside([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return 77;
    const auto log = rig.dir / "log";
    if (mount("t", log.c_str(), "tmpfs", 0, "size=40m") != 0) return 77;
    rig.s.logfile = log + "/web-1.log";
    if (rig.of("disk-space").severity != ok) return 1;
    write(log + "/ballast", std::string(37 << 20, 'x'));
    if (rig.of("disk-space").severity != error ||
        rig.of("disk-space").text.find(log + " is full: ") == std::string::npos)
      return 2;
    std::filesystem::remove(log + "/ballast");
    if (mount("t", log.c_str(), "tmpfs", MS_REMOUNT, "size=400m") != 0) return 77;
    write(log + "/ballast", std::string(370 << 20, 'x'));
    return rig.of("disk-space").severity == warning ? 0 : 3;
  });
  const int status = inside.wait();
  if (status == 77) return;  // mounts are forbidden here
  CHECK(status == 0);
}

TEST_CASE("diagnosis: what the unit's sandbox hides or locks is found before it fails") {
  Rig rig;
  auto& unit = *rig.s.unit;
  unit.protect_home = "yes";
  unit.protect_system = "strict";
  unit.private_tmp = false;
  unit.writable_paths = {"-" + rig.dir.path()};
  CHECK(rig.of("sandbox").severity == ok);
  rig.s.config->command = "/home/me/worker.py --serve";
  CHECK(rig.of("sandbox").text == "program /home/me/worker.py is hidden from the worker by ProtectHome=yes");
  rig.s.config->command = "/bin/true";
  rig.s.logfile = "/srv/log/web-1.log";
  CHECK(rig.of("sandbox").text ==
        "log file /srv/log/web-1.log is read-only for the worker: ProtectSystem=strict");
  CHECK(rig.of("sandbox").fix == "ReadWritePaths=/srv/log in a drop-in");
  rig.s.logfile.clear();
  rig.s.config->broker_url = "sqlite:///srv/queue.db?synchronous=normal";
  CHECK(rig.of("sandbox").text == "database /srv/queue.db is read-only for the worker: ProtectSystem=strict");
  unit.writable_paths.clear();
  unit.private_tmp = true;
  rig.s.config->broker_url = "sqlite:///tmp/queue.db";
  CHECK(rig.of("sandbox").text.find("database /tmp/queue.db is hidden from the worker by PrivateTmp=yes") !=
        std::string::npos);
}

TEST_CASE("diagnosis: environment files are read as systemd reads them, and what it drops is told") {
  Rig rig;
  const auto path = rig.s.env_files[0].path;
  write(path, "export STEM_WORKER_COMMAND=/bin/true\n", 0640);
  only(rig, "environment-files", warning, path + ":1: `export` is taken here, but systemd drops such a line");
  write(path, "A=1\nwithout an equals sign\n", 0640);
  only(rig, "environment-files", error, path + ":2: a line without `=`");
  std::filesystem::remove(path);
  CHECK(rig.complaints() == "");
  rig.s.env_files[0].may_be_missing = false;
  only(rig, "environment-files", error, "No such file or directory");
}

TEST_CASE("diagnosis: values that are refused and names that nobody knows") {
  Rig rig;
  rig.s.environment["STEM_BROKR_URL"] = "redis://app:hunter2@cache";
  only(rig, "unknown-variables", warning, "did you mean STEM_BROKER_URL?");
  rig.s.environment.clear();
  rig.s.config.reset();
  rig.s.config_error = "STEM_WORKER_CONCURRENCY='many': must be a whole number from 1 to 1024";
  only(rig, "settings", error, "STEM_WORKER_CONCURRENCY='many'", "man stem.env");
}

TEST_CASE("diagnosis: what of OTEL_ is ignored is told, and where spans go, without passwords") {
  Rig rig;
  rig.s.config->telemetry.traces.url = "https://u:hunter2@collector:4318/v1/traces";
  CHECK(rig.complaints() == "");
  rig.s.config->telemetry.warnings = {"OTEL_TRACES_SAMPLER='x' is ignored: it must be one of always_on"};
  only(rig, "telemetry", warning, "OTEL_TRACES_SAMPLER='x' is ignored");
  const auto text = rig.of("telemetry").text;
  CHECK(text.find("spans go to https://u:***@collector:4318/v1/traces") != text.npos);
}

TEST_CASE("diagnosis: a file that changed after the worker was started has not been read") {
  Rig rig;
  rig.s.health.since = Clock::system().wall() - 1h;
  only(rig, "stale-settings", warning, "has changed since the worker was started",
       "stem worker multi restart web-1");
}

TEST_CASE("diagnosis: a secret in a file is for root and the worker alone") {
  Rig rig;
  const auto path = rig.s.env_files[0].path;
  write(path, "STEM_BROKER_URL=sqlite:///var/lib/stem/stem.db\n", 0644);
  CHECK(rig.complaints() == "");  // nothing in there to hide
  write(path, "STEM_BROKER_URL=redis://app:hunter2@cache/0\n", 0640);
  CHECK(rig.complaints() == "");
  chmod(path.c_str(), 0644);
  only(rig, "secret-files", error, "every user of this machine can read it", "chmod 0640");
  chmod(path.c_str(), 0660);
  only(rig, "secret-files", error, "others than its owner can change it");
  if (!is_root()) return;
  chmod(path.c_str(), 0640);
  chown(path.c_str(), 0, 1);
  only(rig, "secret-files", warning, "the group daemon can read it");
  chown(path.c_str(), stranger, 0);
  only(rig, "secret-files", error, "belongs to " + std::to_string(stranger));
}

TEST_CASE("diagnosis: a password on a command line is an error") {
  Rig rig;
  rig.s.config->command = "/bin/true --broker redis://app:hunter2@cache/0";
  only(rig, "secret-exposure", error, "STEM_WORKER_COMMAND holds a password", "environment");
}

TEST_CASE("diagnosis: credentials that others read, that no unit loads, or that are doubled") {
  Rig rig;
  std::filesystem::create_directory(rig.dir / "etc/credstore");
  const auto path = rig.dir / "etc/credstore/stem.broker-url";
  write(path, rig.s.config->broker_url, 0600);
  only(rig, "credentials", error, "the unit does not load it", "LoadCredential=stem.broker-url");
  rig.s.unit->credentials = {{"stem.broker-url", "stem.broker-url", false}};
  CHECK(rig.complaints() == "");
  chmod(path.c_str(), 0644);
  only(rig, "credentials", error, "can be read by others than root", "chmod 0600");
  chmod(path.c_str(), 0600);
  rig.s.from_credentials = {"STEM_BROKER_URL"};
  write(rig.s.env_files[0].path, "STEM_BROKER_URL=memory://x\n", 0640);
  only(rig, "credentials", warning, "stands in " + rig.s.env_files[0].path + ", too; the credential wins",
       "remove the line");
}

TEST_CASE("diagnosis: the broker is asked, and says how much waits") {
  Rig rig;
  CHECK(rig.of("broker").text.find("is made at the first start") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(rig.dir / "state/stem.db"));  // a diagnosis makes nothing
  open_storage(*rig.s.config);
  CHECK(rig.complaints() == "");
  CHECK(rig.of("broker").text.find(": 0 ready, 0 dead") != std::string::npos);
}

TEST_CASE("diagnosis: a broker that cannot be used is an error, with what the worker would say") {
  Rig rig;
  rig.s.config->broker_url = "sqlite://" + rig.dir.file("state/text.db", std::string(5000, 'x'));
  CHECK(rig.complaints() == "broker");
  rig.s.config->broker_url = "carrier-pigeon://app:hunter2@coop";
  only(rig, "broker", error, "no broker or result backend is called 'carrier-pigeon://'", "STEM_BROKER_URL");
  rig.s.config->broker_url = "sqlite://" + rig.dir / "none/stem.db";
  only(rig, "broker", error, "No such file or directory");
  rig.s.config->broker_url = "memory://jobs";
  only(rig, "broker", warning, "kept in the worker's own memory");
  if (!is_root()) return;
  rig.s.config->broker_url = "sqlite://" + rig.dir / "state/stem.db";
  rig.s.account = nobody();
  CHECK(rig.of("broker").text.find("nobody cannot write in " + rig.dir / "state") != std::string::npos);
  open_storage(*rig.s.config);
  CHECK(rig.of("broker").severity == error);  // made by root
}

TEST_CASE("diagnosis: a database that is locked for good does not hold up the diagnosis") {
  Rig rig;
  open_storage(*rig.s.config);
  rig.s.config->broker_url += "?busy_timeout=100ms";
  // SQLite's own lock on the file: a range of bytes far behind its end, see sqlite.org/lockingv3.html and
  // wal.html.
  ChildProcess holder([&] {
    const auto db = open((rig.dir / "state/stem.db").c_str(), O_RDWR | O_CLOEXEC);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0x40000000;
    lock.l_len = 512;
    if (fcntl(db, F_SETLK, &lock) != 0) return 1;
    rig.dir.file("locked", "");
    pause();
    return 0;
  });
  REQUIRE(eventually([&] { return std::filesystem::exists(rig.dir / "locked"); }));
  const auto began = std::chrono::steady_clock::now();
  const auto found = rig.of("broker");
  CHECK(std::chrono::steady_clock::now() - began < 20s);
  CHECK(found.severity == error);
}

TEST_CASE("diagnosis: the result backend is asked on its own where it is another one") {
  Rig rig;
  CHECK(rig.of("result-backend").text.find("in one commit") != std::string::npos);
  rig.s.config->result_backend_url = "sqlite://" + (rig.dir / "state/results.db");
  auto config = *rig.s.config;
  config.broker_url = config.result_backend_url;
  open_storage(config);
  CHECK(rig.complaints() == "");
  CHECK(rig.of("result-backend").text.ends_with("two commits"));
  rig.s.config->result_backend_url = "sqlite://" + (rig.dir / "none/results.db");
  only(rig, "result-backend", error, "No such file or directory");
}

TEST_CASE("diagnosis: a pidfile that is missing, left over, foreign or somebody else's") {
  Rig rig;
  CHECK(rig.of("pidfile").text.find("is locked by process " + std::to_string(rig.worker->pid())) !=
        std::string::npos);
  const auto path = rig.s.pidfile;
  std::filesystem::remove(path);
  only(rig, "pidfile", error, "is missing, though the worker runs", "restart");
  rig.dir.file("run/web-1.pid", "1\n");
  only(rig, "pidfile", error, "is held by nobody, though the worker runs");
  rig.dir.file("run/web-1.pid", "text\n");
  only(rig, "pidfile", error, "holds something else than a pid", "remove it");
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/etc/passwd", path);
  only(rig, "pidfile", error, "a symbolic link");
  std::filesystem::remove(path);
  StandIn other(path, rig.dir / "run/other.sock");
  only(rig, "pidfile", error, "is locked by process " + std::to_string(other.pid()) + " (",
       "two workers have this name");
}

TEST_CASE("diagnosis: a pidfile of a dead worker is a warning, and the node does not run") {
  Rig rig;
  const auto pid = rig.worker->pid();
  rig.stop();
  CHECK(rig.complaints() == "worker pidfile");
  CHECK(rig.of("pidfile").severity == warning);
  CHECK(rig.of("pidfile").text.find("left over from a worker that was killed: process " +
                                    std::to_string(pid)) != std::string::npos);
  std::filesystem::remove(rig.s.pidfile);
  CHECK(rig.complaints() == "worker");
  rig.s.asked_pidfile = true;
  CHECK(rig.of("pidfile").severity == warning);
}

TEST_CASE("diagnosis: a pidfile whose lock is another's than the number says is not believed") {
  Rig rig;
  std::ofstream(rig.s.pidfile) << "1\n";  // the stand-in still holds the lock
  rig.s.health.pid = 1;
  const auto found = rig.of("pidfile");
  CHECK(found.severity == error);
  CHECK(found.text.find("but not by process 1") != std::string::npos);
}

TEST_CASE("diagnosis: a control socket that nobody answers at") {
  Rig rig;
  std::filesystem::remove(rig.dir / "run/web-1.sock");
  only(rig, "control-socket", warning, "is missing, though process");
  rig.dir.file("run/web-1.sock", "");
  only(rig, "control-socket", error, "is not a socket", "move it away");
}

TEST_CASE("diagnosis: a worker that is stopped, dead, or has another user") {
  Rig rig;
  rig.worker->process().signal(SIGSTOP);
  REQUIRE(eventually([&] { return rig.of("process-state").severity == error; }));
  CHECK(rig.of("process-state").text.find("is stopped by a signal") != std::string::npos);
  CHECK(rig.of("control-socket").severity == error);
  CHECK(rig.of("control-socket").text.find("did not answer") != std::string::npos);
  rig.worker->process().signal(SIGKILL);
  REQUIRE(eventually([&] {
    return rig.of("process-state").text.find("is dead, and nobody has collected it") != std::string::npos;
  }));
  if (!is_root()) return;
  Rig other;
  other.s.account = nobody();
  CHECK(other.of("process-user").text.find("runs as root, not as nobody") != std::string::npos);
}

TEST_CASE("diagnosis: an unhealthy worker is an error in its own words") {
  Rig rig;
  rig.s.health.ok = false;
  rig.s.health.error = "the worker cannot reach its broker: redis://app:hunter2@cache/0 refuses";
  only(rig, "worker", error, "redis://app:***@cache/0 refuses", "stem worker multi restart web-1");
}

TEST_CASE("diagnosis: a worker that was replaced on disk runs the old program") {
  Rig rig;
  const auto program = rig.dir / "sleep";
  std::filesystem::copy_file("/bin/sleep", program);
  ChildProcess old([&] { return execl(program.c_str(), "sleep", "60", nullptr); });
  rig.s.health.pid = old.pid();
  REQUIRE(eventually([&] { return rig.of("process-program").text == program; }));
  std::filesystem::remove(program);
  CHECK(rig.of("process-program").severity == warning);
  CHECK(rig.of("process-program").text == "the worker runs " + program + " as it was before it was replaced");
}

TEST_CASE("diagnosis: too few files may be open") {
  Rig rig;
  const auto with = [&](rlim_t limit) {
    ChildProcess worker([&] {
      const rlimit few{limit, limit};
      setrlimit(RLIMIT_NOFILE, &few);
      rig.dir.file("limited", "");
      pause();
      return 0;
    });
    REQUIRE(eventually([&] { return std::filesystem::remove(rig.dir / "limited"); }));
    rig.s.health.pid = worker.pid();
    return rig.of("open-files");
  };
  CHECK(with(128).severity == error);
  CHECK(with(1024).severity == warning);
  CHECK(with(1024).text == "only 1024 files may be open");
  rig.stop();
  CHECK(rig.of("open-files").text == "65536 files may be open");
  rig.s.unit->open_files = 1024;
  CHECK(rig.of("open-files").severity == warning);
}

TEST_CASE("diagnosis: a clock that nobody keeps, or that is in the past") {
  Rig rig;
  rig.s.clock_synchronised = false;
  only(rig, "clock", warning, "no time service keeps the clock", "timedatectl");
  rig.s.now = parse_time("2001-01-01T00:00:00Z");
  only(rig, "clock", error, "before this program was made");
}
