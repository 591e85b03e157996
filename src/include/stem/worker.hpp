#pragma once

#include <optional>
#include <stem/config.hpp>
#include <stem/signing.hpp>
#include <stem/task.hpp>

namespace stem {

/// Runs a worker in this process until it is told to stop, as a good service does: readiness, status and
/// watchdog to systemd where it listens, control socket, pidfile and log as configured, SIGTERM warm, SIGINT
/// soft, SIGQUIT hard, SIGHUP reload. Returns the exit status. Call it from main, before other threads are
/// started: it takes over signals. Throws Error for what is wrong before the worker runs (78 configuration,
/// 69 broker and so on).
int run_worker(const Config& config, const Registry& tasks);
/// Verifies with `signer` instead, or not at all if there is none.
int run_worker(const Config& config, const Registry& tasks, std::optional<PayloadSigner> signer);

}  // namespace stem
