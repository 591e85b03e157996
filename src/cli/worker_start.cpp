#include "cli/service_start.hpp"
#include "core/memory_size.hpp"
#include "core/name.hpp"
#include "service/run_worker.hpp"
#include "worker/module.hpp"

namespace stem::cli {
namespace {

struct Options {
  ServiceStart service;
  std::string node, command;
  std::vector<std::string> apps, queues, broadcasts;
  std::string pool, max_memory;
  int concurrency = 0, max_tasks = 0;
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
  if (!options.service.pidfile.empty()) config.pidfile = options.service.pidfile;
  if (!options.service.logfile.empty()) config.logfile = options.service.logfile;
  // On the command line, --app and --command each say what to run: the one that is there wins over the
  // other's variable.
  if (!options.command.empty())
    config.command = options.command;
  else if (!options.apps.empty())
    config.command.clear();
  configure_pool(options, config);
  options.service.configure(config, common);
  if (config.command.empty() && config.apps.empty())
    throw Error(Exit::config, "node " + config.node +
                                  " has nothing to run: give task modules (--app, STEM_WORKER_APP) or a "
                                  "program (--command, STEM_WORKER_COMMAND)");
  return config;
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
  run.private_dirs = options.service.private_dirs;
  run.colour = !common.no_color;
  return run_worker_service(config, environment, tasks, run);
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
  options->service.add_options(app, "%n node, %h host, %d start time, %I process index", "worker");
  return [options, &common] { return start(*options, common); };
}

}  // namespace stem::cli
