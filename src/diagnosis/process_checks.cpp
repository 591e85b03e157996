// The worker's process: does it answer, does it get on, is it still the program that is installed.

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "core/redaction.hpp"
#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "supervisor/process_facts.hpp"

namespace stem {
namespace {

constexpr auto section = "TROUBLESHOOTING";
/// Fewer descriptors than this do not reach for a worker with a few hundred connections.
constexpr std::uint64_t few_files = 4096, too_few_files = 256;

Finding not_running() {
  return Finding::skip("the worker does not run");
}

Finding worker(const Subject& s) {
  if (s.health.ok)
    return Finding::ok("runs as process " + std::to_string(s.health.pid) + " and makes progress");
  return Finding::error(redacted(s.health.error),
                        s.running()
                            ? "see the log; `stem worker multi restart " + s.node + "` replaces it"
                            : "see the other findings, then `stem worker multi start " + s.node + "`");
}

Finding control_socket(const Subject& s) {
  const auto path = control_socket_path(s.runtime_dir, s.node);
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (!s.running()) return not_running();
    if (errno == EACCES) return Finding::skip(path + " is not for " + user_name(geteuid()));
    return Finding::warning(
        path + " is missing, though process " + std::to_string(s.health.pid) + " runs",
        "is it a Stem worker, with that --runtime-dir? Then restart it: something removed the socket");
  }
  if (!S_ISSOCK(status.st_mode))
    return Finding::error(path + " is not a socket", "move it away: the worker cannot start beside it");
  try {
    ask_worker(path, "health");
    return Finding::ok(path + " answers");
  } catch (const Error& error) {
    if (error.code() == Exit::no_permission)
      return Finding::skip(path + " is not for " + user_name(geteuid()));
    if (error.code() == Exit::unavailable && !s.running())
      return Finding::ok(path + " is left over; the next start takes it over");
    return Finding::error(error.what(), "`stem worker multi restart " + s.node + "` replaces the worker");
  }
}

Finding process_state(const Subject& s) {
  if (!s.running()) return not_running();
  const auto letter = process_letter(s.health.pid);
  const auto process = "process " + std::to_string(s.health.pid);
  if (!letter) return Finding::skip(process + " cannot be looked at");
  if (*letter == 'T' || *letter == 't')
    return Finding::error(process + " is stopped by a signal or a debugger",
                          "`kill -CONT " + std::to_string(s.health.pid) + "`");
  if (*letter == 'Z' || *letter == 'X')
    return Finding::error(
        process + " is dead, and nobody has collected it",
        "its parent is at fault: in a container, run an init as process 1 (docker run --init)");
  if (*letter == 'D')
    return Finding::warning(process + " waits for a disk or a file server",
                            "if it stays so, look at that disk: the process cannot even be killed");
  return Finding::ok(process + " is alive");
}

Finding process_user(const Subject& s) {
  if (!s.running()) return not_running();
  struct stat status {};
  if (!s.account || stat(("/proc/" + std::to_string(s.health.pid)).c_str(), &status) != 0)
    return Finding::skip("the process cannot be looked at");
  if (status.st_uid != s.account->user)
    return Finding::warning("process " + std::to_string(s.health.pid) + " runs as " +
                                user_name(status.st_uid) + ", not as " + s.account->name,
                            "stop it, and start the node anew");
  return Finding::ok("it runs as " + s.account->name);
}

Finding process_program(const Subject& s) {
  if (!s.running()) return not_running();
  char name[4096] = {};
  const auto length =
      readlink(("/proc/" + std::to_string(s.health.pid) + "/exe").c_str(), name, sizeof name - 1);
  if (length <= 0) return Finding::skip("only root or the worker's user can tell which program it is");
  const std::string program(name, static_cast<std::size_t>(length));
  if (program.ends_with(" (deleted)"))
    return Finding::warning(
        "the worker runs " + program.substr(0, program.size() - 10) + " as it was before it was replaced",
        "`stem worker multi restart " + s.node + "` runs the new one");
  return Finding::ok(program);
}

Finding restarts(const Subject& s) {
  if (!s.under_systemd()) return Finding::skip("systemd does not run this node");
  if (const auto count = s.unit->facts.restarts)
    return Finding::warning("systemd has restarted the worker " + std::to_string(count) +
                                (count == 1 ? " time" : " times") + " since it was last started by hand",
                            "`journalctl -x -u " + s.unit_name() + "` tells why it failed");
  return Finding::ok("it has not failed since it was last started by hand");
}

/// The soft limit of descriptors of a process, or of whoever asks.
std::optional<std::uint64_t> open_files_limit(pid_t pid) {
  std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
  for (std::string line; std::getline(limits, line);) {
    if (!line.starts_with("Max open files")) continue;
    const auto digit = line.find_first_of("0123456789");
    std::uint64_t limit = 0;
    if (digit != line.npos &&
        std::from_chars(line.data() + digit, line.data() + line.size(), limit).ec == std::errc{})
      return limit;
  }
  return std::nullopt;
}

Finding open_files(const Subject& s) {
  std::optional<std::uint64_t> limit;
  if (s.running()) limit = open_files_limit(s.health.pid);
  if (!limit && s.under_systemd() && s.unit->open_files) limit = s.unit->open_files;
  if (!limit && !s.unit) limit = open_files_limit(getpid());
  if (!limit) return Finding::skip("the limit is not known");
  const auto fix = s.unit ? "LimitNOFILE=65536; remove the drop-in that changes it"
                          : "`ulimit -n 65536` before the worker is started, or raise it in limits.conf";
  const auto shown = std::to_string(*limit);
  if (s.running()) {
    std::error_code error;
    std::uint64_t used = 0;
    for (std::filesystem::directory_iterator at("/proc/" + std::to_string(s.health.pid) + "/fd", error), end;
         !error && at != end; at.increment(error))
      ++used;
    if (used * 10 > *limit * 8)
      return Finding::error("the worker has " + std::to_string(used) + " files open, of " + shown, fix);
  }
  if (*limit < too_few_files) return Finding::error("only " + shown + " files may be open", fix);
  if (*limit < few_files) return Finding::warning("only " + shown + " files may be open", fix);
  return Finding::ok(shown + " files may be open");
}

constexpr Check checks[] = {
    {"worker", section, worker},
    {"control-socket", "DIRECTORIES", control_socket},
    {"process-state", section, process_state},
    {"process-user", "USER AND GROUP", process_user},
    {"process-program", "PROGRAM AND TASKS", process_program},
    {"restarts", "WATCHDOG", restarts},
    {"open-files", "LIMITS", open_files},
};

}  // namespace

std::span<const Check> process_checks() {
  return checks;
}

}  // namespace stem
