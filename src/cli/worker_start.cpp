#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>

#include "cli/commands.hpp"
#include "core/listen_address.hpp"
#include "core/memory_size.hpp"
#include "core/name.hpp"
#include "service/detach.hpp"
#include "service/directories.hpp"
#include "service/node_template.hpp"
#include "service/run_worker.hpp"
#include "worker/module.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node, pidfile, logfile, workdir, command, runtime_dir, metrics_listen;
  std::vector<std::string> apps, queues, broadcasts;
  std::string pool, max_memory;
  int concurrency = 0, max_tasks = 0;
  bool detach = false, private_dirs = false;
  Duration timeout = std::chrono::minutes{5};
};

/// Where handlers run, and how long their processes live.
void configure_pool(const Options& options, Config& config) {
  if (!options.pool.empty()) config.pool = options.pool;
  if (options.max_tasks) config.max_tasks_per_child = options.max_tasks;
  if (!options.max_memory.empty()) config.max_memory_per_child = parse_memory_size(options.max_memory);
  const char* limit = options.max_tasks             ? "--max-tasks-per-child"
                      : !options.max_memory.empty() ? "--max-memory-per-child"
                                                    : nullptr;
  if (!config.command.empty() && (limit || !options.pool.empty()))
    throw Error(Exit::usage, std::string(limit ? limit : "--pool") +
                                 " is for Stem's own handlers; the program of --command runs its own");
  if (limit && config.pool != "processes")
    throw Error(Exit::usage,
                std::string(limit) +
                    " is for a pool of processes; threads have no children: say --pool processes as well");
}

/// The configuration of the environment with the command line over it.
Config configure(const Options& options, const Common& common, const Environment& environment) {
  auto config = load_config(environment);
  if (!options.node.empty()) config.node = options.node;
  if (config.node.empty()) config.node = "worker";
  require_node_name(config.node);
  if (!options.apps.empty()) config.apps = options.apps;
  if (!options.queues.empty()) config.queues = options.queues;
  for (const auto& queue : config.queues) require_name("queue", queue);
  if (!options.broadcasts.empty()) config.broadcasts = options.broadcasts;
  for (const auto& channel : config.broadcasts) require_name("broadcast channel", channel);
  if (options.concurrency) config.concurrency = options.concurrency;
  if (!options.pidfile.empty()) config.pidfile = options.pidfile;
  if (!options.logfile.empty()) config.logfile = options.logfile;
  if (!options.runtime_dir.empty()) config.runtime_dir = options.runtime_dir;
  if (!options.metrics_listen.empty())
    config.metrics_listen = ListenAddress::from(options.metrics_listen).text();
  // On the command line, --app and --command each say what to run: the one that is there wins over the
  // other's variable.
  if (!options.command.empty())
    config.command = options.command;
  else if (!options.apps.empty())
    config.command.clear();
  configure_pool(options, config);
  if (common.verbose) config.log_level = "debug";
  if (config.command.empty() && config.apps.empty())
    throw Error(Exit::config, "node " + config.node +
                                  " has nothing to run: give task modules (--app, STEM_WORKER_APP) or a "
                                  "program (--command, STEM_WORKER_COMMAND)");
  return config;
}

void enter_workdir(const Options& options, const std::string& node) {
  if (options.workdir.empty()) return;
  const auto directory = NodeTemplate::now(node).expand(options.workdir);
  if (chdir(directory.c_str()) != 0)
    throw Error(errno == EACCES ? Exit::no_permission : Exit::no_input,
                "cannot enter the working directory " + directory + ": " + std::strerror(errno) +
                    "; make it or change --workdir");
}

int run_here(const Options& options, const Common& common, const Config& config,
             const Environment& environment, EnvironmentFiles& files, std::function<void()> on_ready) {
  Registry tasks;
  if (config.command.empty())
    for (const auto& app : config.apps) load_module(app, tasks);
  if (config.command.empty() && tasks.all().empty())
    throw Error(Exit::config,
                "the task modules of node " + config.node + " define no task; register some in STEM_MODULE");
  WorkerRun run;
  run.reread = [&] { return configure(options, common, files.read()); };
  run.on_ready = std::move(on_ready);
  run.private_dirs = options.private_dirs;
  run.colour = !common.no_color;
  return run_worker_service(config, environment, tasks, run);
}

int start(const Options& options, const Common& common) {
  EnvironmentFiles files(common, options.node);
  const auto environment = files.read();
  const auto config = configure(options, common, environment);
  enter_workdir(options, config.node);
  if (!options.detach) return run_here(options, common, config, environment, files, {});

  DetachSettings detach;
  detach.timeout = options.timeout;
  // The worker stays where it is told to be, not in `/`: paths of modules are relative to it.
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

Work define_worker_start(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node, "name of the node (STEM_WORKER_NODE)")->type_name("NAME");
  app.add_option("-A,--app", options->apps, "task module, a shared object; may be repeated (STEM_WORKER_APP)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("-q,--queue", options->queues, "queue to serve; may be repeated (STEM_WORKER_QUEUES)")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("-b,--broadcast", options->broadcasts,
                 "broadcast channel to listen on; may be repeated (STEM_WORKER_BROADCASTS)")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("-c,--concurrency", options->concurrency, "handlers at once (STEM_WORKER_CONCURRENCY)")
      ->type_name("N")
      ->check(between(1, 1024));
  app.add_option("--pool", options->pool,
                 "where handlers run: threads, or processes, which may crash (STEM_WORKER_POOL)")
      ->type_name("KIND")
      ->check(CLI::IsMember({"threads", "processes"}).description(""));
  app.add_option("--max-tasks-per-child", options->max_tasks,
                 "a process of the pool is replaced after so many jobs (STEM_WORKER_MAX_TASKS_PER_CHILD)")
      ->type_name("N")
      ->check(between(1, 1000000000));
  app.add_option("--max-memory-per-child", options->max_memory,
                 "and after a job that left it larger: KiB, 512M, 2G (STEM_WORKER_MAX_MEMORY_PER_CHILD)")
      ->type_name("SIZE");
  app.add_option("--command", options->command,
                 "run and look after this program instead (STEM_WORKER_COMMAND)")
      ->type_name("LINE");
  app.add_option("--pidfile", options->pidfile, "pidfile; %n node, %h host, %d start time, %I process index")
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
  app.add_flag("--detach", options->detach, "run in the background; returns once the worker is ready");
  add_duration(app, "--timeout", options->timeout, "how long --detach waits for the worker to be ready (5m)");
  return [options, &common] { return start(*options, common); };
}

}  // namespace stem::cli
