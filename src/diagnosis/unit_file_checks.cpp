// What the unit says, drop-ins included: each row is a decision of the shipped unit that a drop-in or a copy
// of it can undo, and what goes wrong then.

#include <sys/stat.h>

#include <algorithm>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"

namespace stem {
namespace {

constexpr auto section = "UNITS AND DROP-INS";
Finding no_systemd() {
  return Finding::skip("systemd does not run this node");
}

Finding overridden(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto slash = s.unit->fragment.rfind('/');
  if (slash == std::string::npos) return Finding::skip("the unit has no file");
  const auto name = s.unit->fragment.substr(slash + 1);
  for (const char* prefix : {"usr/", ""}) {
    const auto vendor =
        s.at(prefix + std::string("lib/systemd/") + (s.scope == Scope::user ? "user/" : "system/") + name);
    struct stat ours {
    }, theirs{};
    if (stat(vendor.c_str(), &theirs) != 0) continue;
    if (stat(s.unit->fragment.c_str(), &ours) == 0 && ours.st_dev == theirs.st_dev &&
        ours.st_ino == theirs.st_ino)
      return Finding::ok("the installed unit is used");
    return Finding::warning(
        s.unit->fragment + " hides the installed " + vendor + ", updates included",
        "move what it changes into a drop-in (`" + s.systemctl("edit " + name) + "`) and remove the copy");
  }
  return Finding::ok("no other unit of that name is installed");
}

Finding drop_ins(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  if (s.unit->drop_ins.empty()) return Finding::ok("none");
  std::string list;
  for (const auto& path : s.unit->drop_ins) {
    struct stat status {};
    if (stat(path.c_str(), &status) == 0 && s.scope == Scope::system &&
        (status.st_uid != 0 || status.st_mode & S_IWOTH))
      return Finding::error(
          path + " can be written by others than root: whoever can may run programs as any user",
          "chown root: " + path + " && chmod 0644 " + path);
    list += (list.empty() ? "" : ", ") + path;
  }
  return Finding::ok(list);
}

Finding readiness(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  if (!s.unit->type.starts_with("notify"))
    return Finding::error(
        "Type=" + s.unit->type +
            ": systemd takes the worker for started before its broker has answered, and has no watchdog",
        "Type=notify in the unit; remove the drop-in that changes it");
  if (s.unit->notify_access == "none")
    return Finding::error("NotifyAccess=none: systemd does not listen when the worker says that it is ready",
                          "NotifyAccess=main, or remove the line");
  return Finding::ok("Type=" + s.unit->type);
}

Finding restart_policy(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  if (s.unit->restart == "no" || s.unit->restart.empty())
    return Finding::warning("Restart=no: a worker that dies stays dead",
                            "Restart=on-failure; remove the drop-in that changes it");
  for (const auto code : {Exit::usage, Exit::no_input, Exit::config}) {
    const auto& prevented = s.unit->restart_prevented_by;
    if (std::find(prevented.begin(), prevented.end(), static_cast<int>(code)) == prevented.end())
      return Finding::warning(
          "a wrong configuration is started again and again: RestartPreventExitStatus= lacks " +
              std::to_string(static_cast<int>(code)),
          "RestartPreventExitStatus=64 66 78");
  }
  return Finding::ok("Restart=" + s.unit->restart);
}

Finding watchdog(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& facts = s.unit->facts;
  if (!facts.running()) return Finding::skip("systemd tells it of units that run");
  if (facts.watchdog_limit == Duration{})
    return Finding::warning("no watchdog: a worker that hangs stays",
                            "WatchdogSec=60; remove the drop-in that changes it");
  const auto age = facts.watchdog_age.value_or(Duration{});
  const auto shown = [](Duration length) {
    return format_duration(duration_cast<std::chrono::milliseconds>(length));
  };
  if (age > facts.watchdog_limit)
    return Finding::error(
        "no sign of progress for " + shown(age) + ", and systemd allows " + shown(facts.watchdog_limit),
        "systemd is about to replace the worker; the log names the part that is stuck");
  if (age > facts.watchdog_limit * 3 / 4)
    return Finding::warning(
        "no sign of progress for " + shown(age) + " of the " + shown(facts.watchdog_limit) +
            " that systemd allows",
        "look for a handler that hangs, or for a machine that is short of processor time");
  if (facts.watchdog_limit < std::chrono::seconds{10})
    return Finding::warning("WatchdogSec= is " + shown(facts.watchdog_limit) +
                                ": a busy machine may make a healthy worker miss it",
                            "WatchdogSec=60");
  return Finding::ok("WatchdogSec= is " + shown(facts.watchdog_limit) +
                     (facts.running() ? ", last sign of progress " + shown(age) + " ago" : ""));
}

Finding shared_runtime_directory(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& all = s.unit->runtime_directories;
  if (std::find(all.begin(), all.end(), "stem") == all.end())
    return Finding::ok("RuntimeDirectory= is not shared");
  if (s.unit->runtime_directory_preserve == "yes") return Finding::ok("RuntimeDirectory=stem is kept");
  return Finding::error(
      "RuntimeDirectoryPreserve=" + s.unit->runtime_directory_preserve +
          ": the first worker that stops takes /run/stem, with the sockets of all others, away",
      "RuntimeDirectoryPreserve=yes; remove the drop-in that changes it");
}

Finding unit_pidfile(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  if (s.unit->pidfile.empty() || s.asked_pidfile || !s.config || s.config->pidfile.empty() ||
      s.pidfile.empty() || s.pidfile == s.unit->pidfile)
    return Finding::ok(s.unit->pidfile.empty() ? "PIDFile= is not set" : "PIDFile= is the worker's");
  return Finding::warning("PIDFile=" + s.unit->pidfile + ", but the worker writes " + s.pidfile +
                              ": systemd may take what the first names for the worker",
                          "PIDFile=" + s.pidfile + " in the drop-in that sets --pidfile");
}

Finding log_output(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& output = s.unit->standard_output;
  if (output == "append" || output == "file" || output == "truncate")
    return Finding::warning("StandardOutput=" + output +
                                ":…: the file belongs to root and cannot be rotated while the worker runs",
                            "remove the line; STEM_WORKER_LOGFILE has the worker write a file of its own");
  return Finding::ok("standard output goes to " + (output.empty() ? "the journal" : "the " + output));
}

constexpr Check checks[] = {
    {"unit-override", section, overridden},     {"drop-ins", section, drop_ins},
    {"readiness", section, readiness},          {"restart-policy", section, restart_policy},
    {"watchdog", "WATCHDOG", watchdog},         {"runtime-preserve", "DIRECTORIES", shared_runtime_directory},
    {"unit-pidfile", "PIDFILES", unit_pidfile}, {"standard-output", "LOG FILES", log_output},
};

}  // namespace

std::span<const Check> unit_file_checks() {
  return checks;
}

}  // namespace stem
