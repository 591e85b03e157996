#include <iostream>

#include "cli/commands.hpp"
#include "cli/table.hpp"
#include "worker/module.hpp"

namespace stem::cli {
namespace {

Json limit(const std::optional<Duration>& length) {
  return length ? Json(format_duration(*length)) : Json();
}

int list(const std::vector<std::string>& apps, const Common& common) {
  const auto config = load_config(common);
  const auto& modules = apps.empty() ? config.apps : apps;
  if (modules.empty())
    throw Error(Exit::usage, "no task module is named; give --app FILE or set STEM_WORKER_APP");
  Registry tasks;
  for (const auto& module : modules) load_module(module, tasks);

  if (common.json) {
    auto rows = Json::array();
    for (const auto* task : tasks.all())
      rows.push_back({{"name", task->name},
                      {"description", task->options.description},
                      {"maxRetries", task->options.max_retries.value_or(config.default_max_retries)},
                      {"softTimeLimit", limit(task->options.soft_time_limit)},
                      {"hardTimeLimit", limit(task->options.hard_time_limit)}});
    std::cout << rows.dump(2) << '\n';
    return 0;
  }
  Table table({"TASK", "RETRIES", "TIME LIMIT", "DESCRIPTION"});
  for (const auto* task : tasks.all())
    table.add({task->name, std::to_string(task->options.max_retries.value_or(config.default_max_retries)),
               format_duration(task->options.hard_time_limit.value_or(config.hard_time_limit)),
               task->options.description});
  std::cout << table.text();
  return 0;
}

}  // namespace

Work define_tasks_ls(CLI::App& app, Common& common) {
  auto apps = std::make_shared<std::vector<std::string>>();
  app.add_option("-A,--app", *apps, "task module, a shared object; may be repeated (STEM_WORKER_APP)")
      ->type_name("FILE");
  return [apps, &common] { return list(*apps, common); };
}

}  // namespace stem::cli
