#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>

#include "cli/commands.hpp"
#include "core/listen_address.hpp"
#include "core/name.hpp"
#include "service/detach.hpp"
#include "service/directories.hpp"
#include "service/node_template.hpp"
#include "service/scheduler_service.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node = "scheduler", pidfile, logfile, workdir, runtime_dir, catch_up, metrics_listen;
  bool detach = false, private_dirs = false;
  Duration timeout = std::chrono::minutes{5};
};

/// The configuration of the environment with the command line over it. What the environment says of a
/// worker's node, pidfile and log file is not for the scheduler, which may read the same file of variables.
Config configure(const Options& options, const Common& common, const Environment& environment) {
  auto config = load_config(environment);
  config.node = options.node;
  require_name("node", config.node);
  config.pidfile = options.pidfile;
  config.logfile = options.logfile;
  if (!options.runtime_dir.empty()) config.runtime_dir = options.runtime_dir;
  if (!options.metrics_listen.empty())
    config.metrics_listen = ListenAddress::from(options.metrics_listen).text();
  if (!options.catch_up.empty()) config.catch_up = options.catch_up;
  if (common.verbose) config.log_level = "debug";
  return config;
}

void enter_workdir(const Options& options) {
  if (options.workdir.empty()) return;
  const auto directory = NodeTemplate::now(options.node).expand(options.workdir);
  if (chdir(directory.c_str()) != 0)
    throw Error(errno == EACCES ? Exit::no_permission : Exit::no_input,
                "cannot enter the working directory " + directory + ": " + std::strerror(errno) +
                    "; make it or change --workdir");
}

int run_here(const Options& options, const Common& common, const Config& config,
             const Environment& environment, EnvironmentFiles& files, std::function<void()> on_ready) {
  mallopt(M_ARENA_MAX, 2);  // as for a worker
  auto settings = ServiceSettings::from(config, environment);
  settings.colour = !common.no_color;
  settings.private_dirs = options.private_dirs;
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
  enter_workdir(options);
  if (!options.detach) return run_here(options, common, config, environment, files, {});

  DetachSettings detach;
  detach.timeout = options.timeout;
  // It stays where it is told to be, not in `/`: a file named in a URL may be relative to it.
  if (char* here = get_current_dir_name()) {
    detach.workdir = here;
    free(here);
  }
  if (!config.logfile.empty()) {
    detach.logfile = NodeTemplate::now(config.node).expand(config.logfile);
    make_parent_directories(detach.logfile, Owner::self(), options.private_dirs);
  }
  const auto pid = start_detached(detach, [&](const std::function<void()>& ready) {
    return run_here(options, common, config, environment, files, ready);
  });
  if (common.json)
    std::cout << Json{{"node", config.node}, {"pid", pid}, {"state", "running"}} << '\n';
  else
    std::cout << config.node << " is running, pid " << pid << '\n';
  return 0;
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
  app.add_option("--pidfile", options->pidfile, "pidfile; %n node, %h host, %d start time")
      ->type_name("TEMPLATE");
  app.add_option("--logfile", options->logfile, "log file, same marks; reopened on SIGHUP")
      ->type_name("TEMPLATE");
  app.add_option("--workdir", options->workdir, "enter this directory first, same marks")
      ->type_name("TEMPLATE");
  app.add_option("--runtime-dir", options->runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_option("--metrics-listen", options->metrics_listen,
                 "serve metrics: a port, ADDRESS:PORT or unix:/PATH (STEM_METRICS_LISTEN)")
      ->type_name("ADDRESS");
  app.add_flag("--private", options->private_dirs, "make run and log directories 0750 instead of 0755");
  app.add_flag("--detach", options->detach, "run in the background; returns once the scheduler is ready");
  add_duration(app, "--timeout", options->timeout,
               "how long --detach waits for the scheduler to be ready (5m)");
  return [options, &common] { return start(*options, common); };
}

}  // namespace stem::cli
