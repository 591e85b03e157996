#include "cli/fleet_options.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>

#include "core/name.hpp"

namespace stem::cli {
namespace {

/// An order must not outlive the time for which workers remember what they have obeyed.
constexpr std::chrono::minutes longest_timeout{10};

}  // namespace

void add_fleet(CLI::App& app, FleetOptions& options) {
  app.add_option("-w,--worker", options.workers, "only this node; may be repeated (all)")
      ->type_name("NODE")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--namespace", options.name_space, "the workers' namespace (STEM_WORKER_NAMESPACE)")
      ->type_name("NAME");
}

void add_fleet_timeout(CLI::App& app, FleetOptions& options) {
  add_duration(app, "--timeout", options.timeout,
               "how long to wait for workers that live and do not answer (5s)");
}

Config fleet_config(const FleetOptions& options, const Common& common) {
  for (const auto& worker : options.workers) require_name("node", worker);
  if (options.timeout <= Duration::zero() || options.timeout > longest_timeout)
    throw Error(Exit::usage, "--timeout must be above 0 and at most " + format_duration(longest_timeout));
  auto config = load_config(common);
  if (!options.name_space.empty()) {
    require_name("namespace", options.name_space);
    config.name_space = options.name_space;
  }
  return config;
}

Fleet open_fleet(const Config& config) {
  return Fleet(config, open_storage(config));
}

std::string this_person() {
  const auto* const account = getpwuid(geteuid());
  return (account ? std::string(account->pw_name) : "uid " + std::to_string(geteuid())) + "@" + this_host();
}

}  // namespace stem::cli
