#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/node_view.hpp"
#include "core/name.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"
#include "supervisor/health.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node, pidfile, supervisor, runtime_dir;
  bool user = false, system = false;
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
  if (!options.runtime_dir.empty())
    config.runtime_dir = std::filesystem::absolute(options.runtime_dir).lexically_normal();
  HealthQuery query;
  query.node = !options.node.empty() ? options.node : !config.node.empty() ? config.node : "worker";
  require_node_name(query.node);
  if (!options.pidfile.empty()) query.pidfile = std::filesystem::absolute(options.pidfile).lexically_normal();
  const auto supervisor = environment.find("STEM_SUPERVISOR");
  query.supervisor.kind = SupervisorSettings::kind_of(!options.supervisor.empty()       ? options.supervisor
                                                      : supervisor == environment.end() ? ""
                                                                                        : supervisor->second);
  if (options.user) query.supervisor.reach = SupervisorSettings::Reach::user;
  if (options.system) query.supervisor.reach = SupervisorSettings::Reach::system;
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
  app.add_option("--pidfile", options->pidfile, "the worker's pidfile, if it is not where it is expected")
      ->type_name("FILE");
  app.add_option("--runtime-dir", options->runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_option("--supervisor", options->supervisor, "systemd, start-stop-daemon or auto (STEM_SUPERVISOR)")
      ->type_name("NAME");
  auto* user = app.add_flag("--user", options->user, "a node of this user's own service manager");
  app.add_flag("--system", options->system, "a node of the system's service manager")->excludes(user);
  return [options, &common] { return check(*options, common); };
}

}  // namespace stem::cli
