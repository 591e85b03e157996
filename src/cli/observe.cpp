#include "cli/commands.hpp"
#include "cli/dead_groups.hpp"
#include "cli/dead_letters.hpp"
#include "cli/fleet_options.hpp"
#include "cli/follow.hpp"
#include "cli/opened_book.hpp"
#include "cli/queue_view.hpp"
#include "cli/schedule_watch.hpp"
#include "cli/worker_view.hpp"

#include <iostream>

namespace stem::cli {
namespace {

struct FleetLook : FleetOptions, FollowOptions {};

int observe_queues(const FleetLook& options, const Common& common) {
  auto fleet = open_fleet(fleet_config(options, common));
  return show_looks(options, common, [&]() -> Look {
    const auto queues = queue_states(take_sample(fleet, {}));
    if (!common.json)
      return {queues.empty() ? "no queue holds a job, is served or is paused\n"
                             : queue_table(queues, QueueColumns::service)};
    auto rows = Json::array();
    for (const auto& queue : queues) rows.push_back(to_json(queue, QueueColumns::service));
    return {json_text(rows, options)};
  });
}

int observe_workers(const FleetLook& options, const Common& common) {
  auto fleet = open_fleet(fleet_config(options, common));
  return show_looks(options, common, [&]() -> Look {
    const auto beats = fleet.alive(options.workers);
    const auto now = Clock::system().wall();
    const int status = status_of(beats, options.workers, now);
    if (!common.json)
      return {(beats.empty() ? "" : worker_table(beats, WorkerColumns::pace, now)) +
                  absence(beats, options.workers, fleet.name_space()),
              status};
    auto rows = Json::array();
    for (const auto& beat : beats) rows.push_back(to_json(beat, WorkerColumns::pace, now));
    return {json_text(rows, options), status};
  });
}

struct DeadLook : FollowOptions {
  std::string queue, task, since;
  int limit = 100'000;
};

int observe_dlq(const DeadLook& options, const Common& common) {
  const auto storage = open_storage(load_config(common));
  if (!options.since.empty()) since_from(options.since, Clock::system().wall());
  bool told = false;
  return show_looks(options, common, [&]() -> Look {
    const auto now = Clock::system().wall();
    const auto limit = static_cast<std::size_t>(options.limit);
    DeadFilter filter{
        .ids = {}, .queue = options.queue, .task = options.task, .since = {}, .limit = limit + 1};
    if (!options.since.empty()) filter.since = since_from(options.since, now);
    auto jobs = find_dead(*storage.broker, filter);
    if (jobs.size() > limit) {
      jobs.resize(limit);
      if (!told) std::cerr << "the newest " << limit << "; --limit counts more\n";
      told = true;
    }
    const auto groups = dead_groups(jobs);
    return {common.json ? json_text(to_json(groups), options) : dead_group_table(groups, now)};
  });
}

int observe_schedules(const FollowOptions& options, const Common& common) {
  const auto config = load_config(common);
  std::optional<OpenedBook> book(std::in_place, config, OpenedBook::For::reading);
  ScheduleWatch watch;
  bool first = true;
  return show_looks(options, common, [&]() -> Look {
    // A file is read as it is now.
    if (!book->file().empty() && !first) book.emplace(config, OpenedBook::For::reading);
    first = false;
    const auto sample = watch.look(**book, book->store());
    return {common.json ? json_text(to_json(sample), options) : schedule_watch_table(sample)};
  });
}

}  // namespace

Work define_observe_queues(CLI::App& app, Common& common) {
  auto options = std::make_shared<FleetLook>();
  app.add_option("--namespace", options->name_space, "the workers' namespace (STEM_WORKER_NAMESPACE)")
      ->type_name("NAME");
  add_follow(app, *options);
  return [options, &common] { return observe_queues(*options, common); };
}

Work define_observe_workers(CLI::App& app, Common& common) {
  auto options = std::make_shared<FleetLook>();
  add_fleet(app, *options);
  add_follow(app, *options);
  return [options, &common] { return observe_workers(*options, common); };
}

Work define_observe_dlq(CLI::App& app, Common& common) {
  auto options = std::make_shared<DeadLook>();
  app.add_option("-q,--queue", options->queue, "of this queue only")->type_name("NAME");
  app.add_option("--task", options->task, "of this task only")->type_name("NAME");
  app.add_option("--since", options->since, "those that died so long ago at the most (2h), or since a time")
      ->type_name("WHEN");
  app.add_option("--limit", options->limit, "count the newest so many (100000)")
      ->type_name("N")
      ->check(between(1, 10'000'000))
      ->default_str("");
  add_follow(app, *options);
  return [options, &common] { return observe_dlq(*options, common); };
}

Work define_observe_schedules(CLI::App& app, Common& common) {
  auto options = std::make_shared<FollowOptions>();
  add_follow(app, *options);
  return [options, &common] { return observe_schedules(*options, common); };
}

}  // namespace stem::cli
