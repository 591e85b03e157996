// The pidfile, and whether exactly one worker has this node's name.

#include <sys/stat.h>
#include <unistd.h>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "service/pidfile.hpp"

namespace stem {
namespace {

constexpr auto section = "PIDFILES";

std::string program_of(pid_t pid) {
  char name[256] = {};
  const auto length = readlink(("/proc/" + std::to_string(pid) + "/exe").c_str(), name, sizeof name - 1);
  return length > 0 ? " (" + std::string(name, static_cast<std::size_t>(length)) + ")" : std::string();
}

Finding pidfile(const Subject& s) {
  if (s.pidfile.empty()) return Finding::skip("the node has none");
  const auto state = read_pidfile(s.pidfile);
  const auto holder = "process " + std::to_string(state.pid) + program_of(state.pid);
  using Kind = PidfileState::Kind;
  switch (state.kind) {
    case Kind::missing:
      if (s.running() && s.health.pidfile == s.pidfile)
        return Finding::error(
            s.pidfile + " is missing, though the worker runs as process " + std::to_string(s.health.pid),
            "restart the worker; see what cleans up in that directory");
      if (s.asked_pidfile)
        return Finding::warning(s.pidfile + " is missing: no worker holds it",
                                "start the node, or name the file that it writes");
      return Finding::ok(s.pidfile + " is made at the start");
    case Kind::stale:
      if (s.running() && s.health.pidfile == s.pidfile)
        return Finding::error(s.pidfile + " is held by nobody, though the worker runs as process " +
                                  std::to_string(s.health.pid),
                              "restart the worker");
      return Finding::warning(s.pidfile + " is left over from a worker that was killed" +
                                  (state.pid ? ": process " + std::to_string(state.pid) : ""),
                              "nothing has to be removed: the next start takes the file over");
    case Kind::starting:
      return Finding::warning(s.pidfile + " is locked by a worker that has not written its pid yet",
                              "wait a moment");
    case Kind::live:
      break;
    case Kind::foreign:
      return Finding::error(s.pidfile + " cannot be used: " + state.detail,
                            "remove it, or name another with --pidfile");
    case Kind::forbidden:
      return geteuid() == 0 ? Finding::error(s.pidfile + ": " + state.detail, "name another with --pidfile")
                            : Finding::skip(s.pidfile + ": " + state.detail);
  }
  if (s.health.pid > 0 && state.pid != s.health.pid)
    return Finding::error(
        s.pidfile + " is locked by " + holder + ", but the worker is process " + std::to_string(s.health.pid),
        "two workers have this name: stop one of them");
  try {
    if (!PidfileHolder::open(s.pidfile))
      return Finding::warning(s.pidfile + " was let go of this very moment", "ask again");
  } catch (const Error& error) {
    if (error.code() == Exit::no_permission)
      return Finding::skip(s.pidfile + " is locked; only root or the worker's user can tell by whom");
    return Finding::error(error.what(),
                          "see what runs as process " + std::to_string(state.pid) + program_of(state.pid));
  }
  struct stat status {};
  if (s.account && stat(s.pidfile.c_str(), &status) == 0 && status.st_uid != s.account->user && s.unit)
    return Finding::warning(s.pidfile + " belongs to " + user_name(status.st_uid) +
                                ", and the unit's worker would run as " + s.account->name,
                            "stop the worker that was started by hand");
  return Finding::ok(s.pidfile + " is locked by " + holder);
}

/// One node, two supervisors.
Finding one_supervisor(const Subject& s) {
  if (!s.unit || !s.record || s.record->pidfile.empty()) return Finding::ok("one supervisor knows this node");
  const auto other = read_pidfile(s.record->pidfile);
  if (!other.running() || other.pid == s.unit->facts.main_pid)
    return Finding::ok("one supervisor runs this node");
  return Finding::error(
      "process " + std::to_string(other.pid) + " was started under this name without systemd",
      "`stem worker multi stop --supervisor start-stop-daemon " + s.node + "`");
}

constexpr Check checks[] = {{"pidfile", section, pidfile}, {"one-supervisor", section, one_supervisor}};

}  // namespace

std::span<const Check> pidfile_checks() {
  return checks;
}

}  // namespace stem
