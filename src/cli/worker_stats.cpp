#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"

namespace stem::cli {
namespace {

int stats(const FleetOptions& options, const Common& common) {
  const auto config = fleet_config(options, common);
  const auto answers = open_fleet(config).ask("stats", Json::object(), options.workers, options.timeout);
  if (common.json) {
    std::cout << answers_json(answers);
  } else {
    const std::vector<std::string> headings{"PID",     "UP",        "BUSY",   "IN FLIGHT", "DONE",  "FAILED",
                                            "RETRIED", "CANCELLED", "MEMORY", "QUEUES",    "PAUSED"};
    std::cout << answers_table(answers, config.name_space, headings, [](const FleetAnswer& answer) {
      const auto& all = answer.payload;
      const auto queues = all.value("subscriptions", Json());
      return std::vector<std::string>{number_cell(all, "pid"),
                                      length_cell(all, "uptimeMs"),
                                      number_cell(all, "busy") + "/" + number_cell(all, "concurrency"),
                                      number_cell(all, "inflight"),
                                      number_cell(all, "completed"),
                                      number_cell(all, "failed"),
                                      number_cell(all, "retried"),
                                      number_cell(all, "cancelled"),
                                      bytes_cell(all, "memoryBytes"),
                                      queues.is_object() ? list_cell(queues, "queues") : "-",
                                      list_cell(all, "pausedQueues")};
    });
  }
  return status_of(answers, static_cast<int>(Exit::unhealthy));
}

}  // namespace

Work define_worker_stats(CLI::App& app, Common& common) {
  auto options = std::make_shared<FleetOptions>();
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return stats(*options, common); };
}

}  // namespace stem::cli
