#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"

namespace sdbus {
class IConnection;
class IProxy;
}  // namespace sdbus

namespace stem {

/// Has the service manager do things, over D-Bus with sdbus-c++. One thread; no thread of its own.
class SystemdJobs {
 public:
  enum class Verb { start, stop, restart };

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
    /// all that describe_failure() takes, sub_state and invocation.
    UnitFacts facts;
  };

  /// Connects to the bus of that manager. Throws Error 69.
  explicit SystemdJobs(Scope scope);
  ~SystemdJobs();

  /// `systemctl daemon-reload`. Throws Error: 77 permission, 69 the bus, 70 it fails.
  void reload_manager();

  /// Sends the jobs of all units at once and calls `ended` for each as it ends, in whatever order, until all
  /// have ended or `deadline` has passed. Failures of units in `forgive` are forgotten first, with their
  /// count of starts.
  void run(Verb verb, const std::vector<std::string>& units, const std::vector<std::string>& forgive,
           bool wait, std::optional<SteadyTime> deadline, const std::function<void(const Ended&)>& ended);

 private:
  class Batch;
  std::unique_ptr<sdbus::IConnection> bus_;
  std::unique_ptr<sdbus::IProxy> manager_;
};

/// True for the errors that mean: not allowed, with or without a question to the user.
bool is_permission_error(const std::string& error_name);

}  // namespace stem
