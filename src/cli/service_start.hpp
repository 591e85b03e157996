#pragma once

#include <functional>

#include "cli/commands.hpp"

namespace stem::cli {

/// What `worker start` and `scheduler start` have in common: where a service works, and whether it goes into
/// the background.
struct ServiceStart {
  std::string pidfile, logfile, workdir, runtime_dir, metrics_listen;
  bool detach = false, private_dirs = false;
  Duration timeout = std::chrono::minutes{5};

  /// `marks` are those of the pidfile, `service` is what help calls it.
  void add_options(CLI::App& app, const std::string& marks, const std::string& service);
  /// What the command line says over what `config` says, but for the pidfile and the log file.
  void configure(Config& config, const Common& common) const;
  /// Runs until it has ended; `on_ready` is called once it is ready. Returns the exit status.
  using Run = std::function<int(std::function<void()> on_ready)>;
  /// In the working directory, here or in the background; returns the exit status. Throws Error.
  int start(const Config& config, const Common& common, const Run& run) const;
};

}  // namespace stem::cli
