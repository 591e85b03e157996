#pragma once

#include <string>

#include "cli/commands.hpp"
#include "supervisor/supervisor.hpp"

namespace stem::cli {

/// Where a node is that `healthcheck` or `diagnose` looks at: its files, and who manages it.
struct NodePlace {
  std::string pidfile, runtime_dir, supervisor;
  bool user = false, system = false;

  /// `whose` pidfile it is, and `what` a manager has of it, in the words of the help.
  void add_options(CLI::App& app, const std::string& whose, const std::string& what);
  /// Which manager it is, for workers.
  void add_supervisor(CLI::App& app);
  /// Whose manager is asked.
  void choose_reach(SupervisorSettings& settings) const;
};

/// A path that does not depend on the working directory; empty stays empty.
std::string absolute_path(const std::string& path);

}  // namespace stem::cli
