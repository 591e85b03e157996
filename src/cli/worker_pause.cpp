#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "cli/queue_order.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

struct Options : FleetOptions {
  QueueOrder order;
};

int change(const Options& options, const Common& common) {
  const auto config = fleet_config(options, common);
  auto order = options.order;
  for (const auto& queue : order.queues) require_name("queue", queue);
  if (order.requester.empty()) order.requester = this_person();
  order.nodes = options.workers;
  auto fleet = open_fleet(config);
  remember(order, fleet);
  const auto answers =
      fleet.ask(order.type(), order.payload(config.name_space), options.workers, options.timeout);
  if (common.json)
    std::cout << answers_json(answers);
  else if (answers.empty())
    std::cout << (order.resume ? "resumed" : "paused") << "; no worker of namespace " << config.name_space
              << " lives, and those that start will obey\n";
  else
    std::cout << answers_table(answers, config.name_space, {"UPDATED", "PAUSED NOW"},
                               [](const FleetAnswer& answer) {
                                 return std::vector<std::string>{number_cell(answer.payload, "updated"),
                                                                 list_cell(answer.payload, "paused")};
                               });
  return status_of(answers, 0);
}

Work define(CLI::App& app, Common& common, bool resume) {
  auto options = std::make_shared<Options>();
  auto& order = options->order;
  order.resume = resume;
  app.add_option("-q,--queue", order.queues,
                 resume ? "queue to take jobs from again; may be repeated"
                        : "queue to take nothing from; may be repeated")
      ->required()
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  if (!resume) app.add_option("--reason", order.reason, "why")->type_name("TEXT");
  app.add_option("--requester", order.requester, "who wants it (USER@HOST)")->type_name("TEXT");
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return change(*options, common); };
}

}  // namespace

Work define_worker_pause(CLI::App& app, Common& common) {
  return define(app, common, false);
}
Work define_worker_resume(CLI::App& app, Common& common) {
  return define(app, common, true);
}

}  // namespace stem::cli
