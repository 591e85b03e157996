#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

struct Options : FleetOptions {
  std::vector<std::string> queues;
  std::string reason, requester;
  bool resume = false;
};

int change(const Options& options, const Common& common) {
  const auto config = fleet_config(options, common);
  for (const auto& queue : options.queues) require_name("queue", queue);
  const auto requester = options.requester.empty() ? this_person() : options.requester;
  auto fleet = open_fleet(config);
  // First remembered, then told; workers look at what is remembered.
  if (options.resume) {
    fleet.orders().resume(options.queues, options.workers);
  } else {
    const auto nodes = options.workers.empty() ? std::vector<std::string>{""} : options.workers;
    std::vector<PausedQueue> all;
    for (const auto& queue : options.queues)
      for (const auto& node : nodes)
        all.push_back({.queue = queue, .node = node, .reason = options.reason, .requester = requester, .since = Clock::system().wall()});
    fleet.orders().pause(all);
  }
  const Json payload{{"namespace", config.name_space}, {"queues", options.queues}, {"reason", options.reason}, {"requester", requester}};
  const auto answers = fleet.ask(options.resume ? "queue_resume" : "queue_pause", payload, options.workers, options.timeout);
  if (common.json)
    std::cout << answers_json(answers);
  else if (answers.empty())
    std::cout << (options.resume ? "resumed" : "paused") << "; no worker of namespace " << config.name_space
              << " lives, and those that start will obey\n";
  else
    std::cout << answers_table(answers, config.name_space, {"UPDATED", "PAUSED NOW"}, [](const FleetAnswer& answer) {
      return std::vector<std::string>{number_cell(answer.payload, "updated"), list_cell(answer.payload, "paused")};
    });
  return status_of(answers, 0);
}

Work define(CLI::App& app, Common& common, bool resume) {
  auto options = std::make_shared<Options>();
  options->resume = resume;
  app.add_option("-q,--queue", options->queues, resume ? "queue to take jobs from again; may be repeated" : "queue to take nothing from; may be repeated")
      ->required()
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  if (!resume) app.add_option("--reason", options->reason, "why")->type_name("TEXT");
  app.add_option("--requester", options->requester, "who wants it (USER@HOST)")->type_name("TEXT");
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return change(*options, common); };
}

}  // namespace

Work define_worker_pause(CLI::App& app, Common& common) { return define(app, common, false); }
Work define_worker_resume(CLI::App& app, Common& common) { return define(app, common, true); }

}  // namespace stem::cli
