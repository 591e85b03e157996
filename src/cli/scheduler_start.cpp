#include <malloc.h>

#include "cli/service_start.hpp"
#include "core/name.hpp"
#include "service/scheduler_service.hpp"

namespace stem::cli {
namespace {

struct Options {
  ServiceStart service;
  std::string node = "scheduler", catch_up;
};

/// The configuration of the environment with the command line over it. What the environment says of a
/// worker's node, pidfile and log file is not for the scheduler, which may read the same file of variables.
Config configure(const Options& options, const Common& common, const Environment& environment) {
  auto config = load_config(environment);
  config.node = options.node;
  require_name("node", config.node);
  config.pidfile = options.service.pidfile;
  config.logfile = options.service.logfile;
  if (!options.catch_up.empty()) config.catch_up = options.catch_up;
  options.service.configure(config, common);
  return config;
}

int run_here(const Options& options, const Common& common, const Config& config,
             const Environment& environment, EnvironmentFiles& files, std::function<void()> on_ready) {
  mallopt(M_ARENA_MAX, 2);  // as for a worker
  auto settings = ServiceSettings::from(config, environment);
  settings.colour = !common.no_color;
  settings.private_dirs = options.service.private_dirs;
  settings.role = "scheduler";
  settings.on_ready = std::move(on_ready);
  return run_service(settings, [&](ServiceOutputs outputs) -> std::unique_ptr<Workload> {
    return std::make_unique<SchedulerService>(config, outputs,
                                              [&] { return configure(options, common, files.read()); });
  });
}

int start(const Options& options, const Common& common) {
  EnvironmentFiles files(common, options.node);
  const auto environment = files.read();
  const auto config = configure(options, common, environment);
  return options.service.start(config, common, [&](std::function<void()> on_ready) {
    return run_here(options, common, config, environment, files, std::move(on_ready));
  });
}

}  // namespace

Work define_scheduler_start(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node, "name of this scheduler (scheduler)")
      ->type_name("NAME")
      ->default_str("");
  app.add_option("--catch-up", options->catch_up,
                 "runs that were missed: none, last or all of them (STEM_SCHEDULER_CATCH_UP)")
      ->type_name("WHICH")
      ->check(CLI::IsMember({"none", "last", "all"}).description(""));
  options->service.add_options(app, "%n node, %h host, %d start time", "scheduler");
  return [options, &common] { return start(*options, common); };
}

}  // namespace stem::cli
