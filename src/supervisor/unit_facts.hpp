#pragma once

#include <sys/types.h>
#include <cstdint>
#include <optional>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// What systemd says of one unit. What was not asked for keeps its first value.
struct UnitFacts {
  std::string unit;
  std::string load_state;  ///< loaded, not-found, masked, bad-setting, error; empty = not loaded
  std::string active_state = "inactive";  ///< active, reloading, inactive, failed, activating, deactivating
  std::string sub_state = "dead";         ///< running, start, start-post, auto-restart, stop-sigterm…
  bool job_pending = false;

  pid_t main_pid = 0;
  std::string status_text;  ///< STATUS=
  std::uint32_t restarts = 0;
  std::optional<Duration> watchdog_age;  ///< since the last WATCHDOG=1
  Duration watchdog_limit{};             ///< WatchdogSec=; 0 = none
  std::optional<WallTime> active_since;
  std::string result = "success";        ///< exit-code, signal, core-dump, timeout, watchdog, resources…
  int exit_code = 0;                     ///< how the main process ended, as CLD_EXITED and its kin
  int exit_status = 0;                   ///< its status, or the signal
  std::string invocation;                ///< 32 hexadecimal digits
  pid_t last_pid = 0;                    ///< of the main process that ran last; it may have gone
  std::optional<WallTime> last_started;  ///< when that was started
  std::optional<std::uint64_t> memory;   ///< bytes that its control group uses

  bool running() const { return active_state == "active" || active_state == "reloading"; }
};

/// Why a unit is not running, in words: `exit-code 78 (configuration)`, `signal 9 (KILL)`, `timeout (it was
/// not ready in time)`. Empty if it did not fail. The numbers are those of Exit and of systemd.exec(5),
/// "Process exit codes".
std::string describe_failure(const UnitFacts& facts);

}  // namespace stem
