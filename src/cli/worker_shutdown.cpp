#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "core/stop_mode.hpp"

namespace stem::cli {
namespace {

struct Options : FleetOptions {
  std::string mode = "warm";
};

int shut_down(const Options& options, const Common& common) {
  const auto config = fleet_config(options, common);
  const auto answers =
      open_fleet(config).ask("shutdown", {{"mode", options.mode}}, options.workers, options.timeout);
  if (common.json)
    std::cout << answers_json(answers);
  else
    std::cout << answers_table(answers, config.name_space, {"SHUTDOWN", "MODE", "ACTIVE"},
                               [](const FleetAnswer& answer) {
                                 return std::vector<std::string>{text_cell(answer.payload, "status"),
                                                                 text_cell(answer.payload, "mode"),
                                                                 number_cell(answer.payload, "active")};
                               });
  return status_of(answers, static_cast<int>(Exit::unhealthy));
}

}  // namespace

Work define_worker_shutdown(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("--mode", options->mode,
                 "warm finishes what runs, soft asks it to stop, hard puts it back (warm)")
      ->type_name("MODE")
      ->check(CLI::IsMember({"warm", "soft", "hard"}).description(""));
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return shut_down(*options, common); };
}

}  // namespace stem::cli
