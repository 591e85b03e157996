#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stem/config.hpp>
#include <string>

#include "core/listen_address.hpp"
#include "service/log_output.hpp"
#include "service/notify.hpp"
#include "service/workload.hpp"

namespace stem {

/// What a service needs to know besides its work. Paths are expanded, not templates.
struct ServiceSettings {
  std::string node = "worker";
  std::string pidfile;  ///< empty = none
  std::string logfile;  ///< empty = journal or standard error
  /// The log file of a process of the pool, from 1; empty as `logfile`.
  std::function<std::string(int process)> child_logfile{};
  std::string log_level = "info";
  bool colour = true;       ///< on a terminal
  std::string runtime_dir;  ///< of the control socket; made if missing
  bool private_dirs = false;
  std::optional<ListenAddress> metrics_listen{};    ///< where the page of metrics is served
  const char* role = "worker";                      ///< what figures are about: worker or scheduler
  std::string name_space = "stem";                  ///< label of its figures
  Duration drain_limit = std::chrono::minutes{10};  ///< a warm stop takes no longer: then hard
  Duration soft_limit = std::chrono::seconds{30};   ///< the same for a soft stop
  Duration hard_limit = std::chrono::seconds{5};    ///< a hard stop takes no longer: then we leave
  Duration start_limit = std::chrono::minutes{5};   ///< until READY: then exit 69
  std::function<void()> on_ready;                   ///< after READY=1

  /// From the configuration, with templates expanded for this start.
  static ServiceSettings from(const Config& config, const Environment& environment);
};

/// What a workload is made with: the outputs of the service that runs it.
struct ServiceOutputs {
  Notify& notify;
  LogOutput& log;
};

/// Runs one workload as a good service, on this thread, until it ends: log, pidfile, control socket,
/// readiness, status and watchdog, and the signals TERM (warm stop; again: harder), INT (soft), QUIT (hard),
/// HUP (reload and reopen the log). Signals are handled, not blocked: what a handler starts does not inherit
/// that. `make` is called before any thread exists; start() may start some, which must not take signals away
/// from this one. Once a process. Returns the exit status. Throws Error for what is wrong before the workload
/// runs, and 75 if the node runs already.
int run_service(const ServiceSettings& settings,
                const std::function<std::unique_ptr<Workload>(ServiceOutputs)>& make);

}  // namespace stem
