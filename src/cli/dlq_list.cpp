#include <iostream>

#include "cli/commands.hpp"
#include "cli/dead_letters.hpp"
#include "core/name.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::vector<std::string> ids;
  std::string queue, task, since;
  int limit = 50;
};

std::string text_of(const Json& object) {
  return object.dump(2, ' ', false, Json::error_handler_t::replace);
}

int list(const Options& options, const Common& common) {
  const auto now = Clock::system().wall();
  DeadFilter filter{.ids = {},
                    .queue = options.queue,
                    .task = options.task,
                    .since = {},
                    .limit = static_cast<std::size_t>(options.limit)};
  if (!options.since.empty()) filter.since = since_from(options.since, now);
  const auto storage = open_storage(load_config(common));
  const auto jobs = find_dead(*storage.broker, filter);
  if (common.json) {
    auto rows = Json::array();
    for (const auto& job : jobs) rows.push_back(to_json(job, false));
    std::cout << text_of(rows) << '\n';
  } else {
    std::cout << (jobs.empty() ? "no dead letter matches\n" : dead_table(jobs, now));
  }
  if (jobs.size() == filter.limit) std::cerr << "the newest " << filter.limit << "; --limit shows more\n";
  return 0;
}

int show(const Options& options, const Common& common) {
  const auto storage = open_storage(load_config(common));
  // One at a time, in the order in which they were asked for.
  for (const auto& id : options.ids)
    for (const auto& job :
         find_dead(*storage.broker, {.ids = {id}, .queue = {}, .task = {}, .since = {}, .limit = 1}))
      std::cout << text_of(to_json(job, true)) << '\n';
  return 0;
}

}  // namespace

Work define_dlq_list(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-q,--queue", options->queue, "of this queue only")->type_name("NAME");
  app.add_option("--task", options->task, "of this task only")->type_name("NAME");
  app.add_option("--since", options->since, "those that died so long ago at the most (2h), or since a time")
      ->type_name("WHEN");
  app.add_option("--limit", options->limit, "the newest so many (50)")
      ->type_name("N")
      ->check(between(1, 1'000'000))
      ->default_str("");
  return [options, &common] { return list(*options, common); };
}

Work define_dlq_show(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("ID", options->ids, "dead letters to show")->required();
  return [options, &common] { return show(*options, common); };
}

}  // namespace stem::cli
