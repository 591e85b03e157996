#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "cli/node_view.hpp"

namespace stem::cli {
namespace {

int ping(const FleetOptions& options, const Common& common) {
  const auto config = fleet_config(options, common);
  const auto answers = open_fleet(config).ask("ping", Json::object(), options.workers, options.timeout);
  if (common.json)
    std::cout << answers_json(answers);
  else
    std::cout << answers_table(
        answers, config.name_space, {"TIME", "PID", "IN FLIGHT"}, [](const FleetAnswer& answer) {
          char time[32];
          std::snprintf(time, sizeof time, "%.1fms", static_cast<double>(answer.took.count()) / 1000);
          return std::vector<std::string>{time, number_cell(answer.payload, "pid"),
                                          number_cell(answer.payload, "inflight")};
        });
  return status_of(answers, static_cast<int>(Exit::unhealthy));
}

}  // namespace

Work define_worker_ping(CLI::App& app, Common& common) {
  auto options = std::make_shared<FleetOptions>();
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return ping(*options, common); };
}

}  // namespace stem::cli
