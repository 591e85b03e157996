#pragma once

#include <functional>
#include <optional>
#include <stem/config.hpp>
#include <stem/signing.hpp>
#include <stem/task.hpp>

namespace stem {

/// What a caller may add to a worker's run.
struct WorkerRun {
  std::function<Config()> reread;  ///< the configuration anew, for SIGHUP; empty = keep it
  std::function<void()> on_ready;  ///< after READY=1
  bool private_dirs = false;
  bool colour = true;
  /// What verifies jobs, in place of what the configuration asks for; one that is empty verifies nothing.
  std::optional<std::optional<PayloadSigner>> signer{};
};

/// Runs Stem's own worker, or the shim of config.command if that is set, as a service on this thread; returns
/// its exit status. Does not return if handlers still run after a hard stop: then it ends the process with
/// that status. `environment` is handed on to a foreign program. Throws Error for what is wrong before the
/// worker runs.
int run_worker_service(const Config& config, const Environment& environment, const Registry& tasks,
                       const WorkerRun& run);

}  // namespace stem
