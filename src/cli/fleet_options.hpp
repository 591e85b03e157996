#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"
#include "worker/fleet.hpp"

namespace stem::cli {

/// What the commands that speak to workers have in common.
struct FleetOptions {
  std::vector<std::string> workers;
  std::string name_space;
  Duration timeout = std::chrono::seconds{5};
};

/// --worker and --namespace.
void add_fleet(CLI::App& app, FleetOptions& options);
/// --timeout.
void add_fleet_timeout(CLI::App& app, FleetOptions& options);

/// The configuration with --namespace over it. Throws Error (exit 64) for names that are none.
Config fleet_config(const FleetOptions& options, const Common& common);
Fleet open_fleet(const Config& config);
/// `ann@host`: who gives an order, where no other name is given.
std::string this_person();

}  // namespace stem::cli
