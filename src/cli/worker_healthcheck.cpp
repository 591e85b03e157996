#include <iostream>

#include "cli/node_place.hpp"
#include "cli/node_view.hpp"
#include "core/name.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"
#include "supervisor/health.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node;
  NodePlace place;
};

/// `web-1: ok, pid 123, up 2h 5m, 3 in flight, queues default, mail`.
std::string line_of(const Health& health) {
  auto line = health.node + ": " + (health.ok ? "ok" : "error: " + health.error);
  if (!health.ok) return line;
  if (health.pid > 0) line += ", pid " + std::to_string(health.pid);
  if (health.uptime) line += ", up " + human_duration(*health.uptime);
  if (health.inflight) line += ", " + std::to_string(*health.inflight) + " in flight";
  if (health.queues && !health.queues->empty()) {
    line += ", queues";
    for (const auto& queue : *health.queues) line += (&queue == &health.queues->front() ? " " : ", ") + queue;
  }
  return line;
}

int check(const Options& options, const Common& common) {
  const auto environment = load_environment(common);
  auto config = Config::from(environment);
  if (!options.place.runtime_dir.empty()) config.runtime_dir = absolute_path(options.place.runtime_dir);
  HealthQuery query;
  query.node = !options.node.empty() ? options.node : !config.node.empty() ? config.node : "worker";
  require_node_name(query.node);
  query.pidfile = absolute_path(options.place.pidfile);
  const auto supervisor = environment.find("STEM_SUPERVISOR");
  query.supervisor.kind =
      SupervisorSettings::kind_of(!options.place.supervisor.empty() ? options.place.supervisor
                                  : supervisor == environment.end() ? ""
                                                                    : supervisor->second);
  options.place.choose_reach(query.supervisor);
  query.supervisor.runtime_dir = runtime_dir(config, environment);
  query.supervisor.environment = environment;

  const auto health = check_health(query);
  if (common.json)
    std::cout << to_json(health).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  else
    std::cout << line_of(health) << '\n';
  return static_cast<int>(health.ok ? Exit::ok : Exit::unhealthy);
}

}  // namespace

Work define_worker_healthcheck(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node, "name of the node (STEM_WORKER_NODE)")->type_name("NAME");
  options->place.add_options(app, "the worker's", "a node");
  options->place.add_supervisor(app);
  return [options, &common] { return check(*options, common); };
}

}  // namespace stem::cli
