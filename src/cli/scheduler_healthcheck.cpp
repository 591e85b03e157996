#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/node_view.hpp"
#include "core/name.hpp"
#include "service/directories.hpp"
#include "supervisor/health.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node = "scheduler", pidfile, runtime_dir;
  bool user = false, system = false;
};

int check(const Options& options, const Common& common) {
  const auto environment = load_environment(common, options.node);
  auto config = Config::from(environment);
  if (!options.runtime_dir.empty())
    config.runtime_dir = std::filesystem::absolute(options.runtime_dir).lexically_normal();
  HealthQuery query;
  query.node = options.node;
  require_name("node", query.node);
  query.what = "scheduler";
  // One of another name was not started by the unit.
  query.unit = "stem-scheduler.service";
  if (!options.pidfile.empty()) query.pidfile = std::filesystem::absolute(options.pidfile).lexically_normal();
  query.supervisor.kind = options.node == "scheduler" ? SupervisorSettings::kind_of(config.supervisor)
                                                      : SupervisorSettings::Kind::detached;
  if (options.user) query.supervisor.reach = SupervisorSettings::Reach::user;
  if (options.system) query.supervisor.reach = SupervisorSettings::Reach::system;
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
  app.add_option("--pidfile", options->pidfile, "its pidfile, if it is not where it is expected")
      ->type_name("FILE");
  app.add_option("--runtime-dir", options->runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  auto* user = app.add_flag("--user", options->user, "the one of this user's own service manager");
  app.add_flag("--system", options->system, "the one of the system's service manager")->excludes(user);
  return [options, &common] { return check(*options, common); };
}

}  // namespace stem::cli
