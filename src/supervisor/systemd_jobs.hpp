#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"
#include "supervisor/verb.hpp"

namespace sdbus {
class IConnection;
class IProxy;
}  // namespace sdbus

namespace stem {

/// Has the service manager do things, over D-Bus with sdbus-c++. One thread; no thread of its own.
class SystemdJobs {
 public:
  /// How one unit's job ended.
  struct Ended {
    std::string unit;
    /// As JobRemoved says: done, failed, timeout, canceled, dependency, skipped… Or `queued` (nobody waits),
    /// `refused` (error says why), `late` (the deadline has passed), `lost` (the bus went away: only the
    /// unit's state can tell).
    std::string result;
    std::string error_name;  ///< refused: org.freedesktop.…
    std::string error_text;
    /// After the job, if it ended: active_state, and main_pid or, where the unit is not as the verb wants it,
    /// all that describe_failure() takes, sub_state, invocation, last_pid and last_started.
    UnitFacts facts;
  };

  /// Connects to the bus of that manager. Throws Error 69.
  explicit SystemdJobs(const Manager& manager);
  ~SystemdJobs();

  /// `systemctl daemon-reload`. Throws Error: 77 permission, 69 the bus, 70 it fails.
  void reload_manager();

  /// `systemctl enable` and `disable`, without the daemon-reload: verb is one of these. Returns the links
  /// that were made or removed. Throws Error as explain_refusal() does.
  std::vector<std::string> link(Verb verb, const std::vector<std::string>& units);

  /// Sends the jobs of all units at once and calls `ended` for each as it ends, in whatever order, until all
  /// have ended or, once every job is queued, `deadline` has passed. The verb is start, stop, restart or
  /// reload. Failures of units in `forgive` are forgotten first, with their
  /// count of starts.
  void run(Verb verb, const std::vector<std::string>& units, const std::vector<std::string>& forgive,
           bool wait, std::optional<SteadyTime> deadline, const std::function<void(const Ended&)>& ended);

 private:
  class Batch;
  Manager where_;
  std::unique_ptr<sdbus::IConnection> bus_;
  std::unique_ptr<sdbus::IProxy> manager_;
};

}  // namespace stem
