#include <iostream>

#include "cli/node_place.hpp"
#include "cli/node_view.hpp"
#include "core/name.hpp"
#include "service/directories.hpp"
#include "supervisor/health.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node = "scheduler";
  NodePlace place;
};

int check(const Options& options, const Common& common) {
  const auto environment = load_environment(common, options.node);
  auto config = Config::from(environment);
  if (!options.place.runtime_dir.empty()) config.runtime_dir = absolute_path(options.place.runtime_dir);
  HealthQuery query;
  query.node = options.node;
  require_name("node", query.node);
  query.what = "scheduler";
  // One of another name was not started by the unit.
  query.unit = "stem-scheduler.service";
  query.pidfile = absolute_path(options.place.pidfile);
  query.supervisor.kind = options.node == "scheduler" ? SupervisorSettings::kind_of(config.supervisor)
                                                      : SupervisorSettings::Kind::detached;
  options.place.choose_reach(query.supervisor);
  query.supervisor.runtime_dir = runtime_dir(config, environment);
  query.supervisor.environment = environment;

  const auto health = check_health(query);
  if (common.json) {
    std::cout << to_json(health).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    auto line = health.node + ": " + (health.ok ? "ok" : "error: " + health.error);
    if (health.ok && health.pid > 0) line += ", pid " + std::to_string(health.pid);
    if (health.ok && health.uptime) line += ", up " + human_duration(*health.uptime);
    std::cout << line << '\n';
  }
  return static_cast<int>(health.ok ? Exit::ok : Exit::unhealthy);
}

}  // namespace

Work define_scheduler_healthcheck(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node, "name of the scheduler (scheduler)")
      ->type_name("NAME")
      ->default_str("");
  options->place.add_options(app, "its", "the one");
  return [options, &common] { return check(*options, common); };
}

}  // namespace stem::cli
