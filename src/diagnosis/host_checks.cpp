// The machine: its clock, its journal.

#include <sys/stat.h>
#include <unistd.h>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "supervisor/journal.hpp"

namespace stem {
namespace {

Finding clock(const Subject& s) {
  // What was installed yesterday cannot have been made tomorrow.
  struct stat status {};
  if (stat("/proc/self/exe", &status) == 0 &&
      s.now + std::chrono::hours{24} <
          WallTime{duration_cast<Duration>(std::chrono::seconds{status.st_mtim.tv_sec})})
    return Finding::error("the clock says " + format_time(s.now) + ", which is before this program was made",
                          "`timedatectl set-ntp true`, or set the clock");
  if (!s.clock_synchronised)
    return Finding::warning(
        "no time service keeps the clock: jobs with a time to run at, and leases, go by it",
        "`timedatectl set-ntp true`; in a container that is the host's matter");
  return Finding::ok("a time service keeps the clock");
}

Finding journal(const Subject& s) {
  if (!s.under_systemd()) return Finding::skip("systemd does not run this node");
  if (!s.unit->facts.invocation.empty() && !journal_of(s.unit->facts, *s.scope, 1, {}).readable) {
    if (geteuid() != 0)
      return Finding::warning(
          "the journal has nothing of the node that " + user_name(geteuid()) + " may read",
          "`usermod -aG systemd-journal " + user_name(geteuid()) + "`, or ask as root");
    return Finding::warning("the journal has nothing of the node's last run",
                            "see `systemctl status systemd-journald`, and whether the log was rotated away");
  }
  if (access(s.at("var/log/journal").c_str(), F_OK) != 0)
    return Finding::ok("can be read; it is gone after a reboot, as /var/log/journal is missing");
  return Finding::ok("can be read, and is kept over reboots");
}

constexpr Check checks[] = {{"clock", "CLOCK AND DISK", clock}, {"journal", "LOG FILES", journal}};

}  // namespace

std::span<const Check> host_checks() {
  return checks;
}

}  // namespace stem
