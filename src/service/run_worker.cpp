#include "service/run_worker.hpp"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <optional>

#include "service/daemon.hpp"
#include "service/directories.hpp"
#include "service/shim.hpp"
#include "service/worker_service.hpp"
#include "telemetry/tracer.hpp"

namespace stem {
namespace {

/// As the worker's own, in another file if `%I` says so. For the life of the process.
void open_child_log(const ServiceSettings& settings, const ForkServer::Birth& birth) {
  const auto file = settings.child_logfile(birth.index);
  if (!file.empty()) make_parent_directories(file, Owner::self(), settings.private_dirs);
  static const auto& log = *new LogOutput(
      {.node = settings.node, .file = file, .level = birth.log_level, .colour = settings.colour});
  (void)log;
}

}  // namespace

int run_worker_service(const Config& config, const Environment& environment, const Registry& tasks,
                       const WorkerRun& run) {
  // By default each thread gets a heap of its own: 2 MiB more for an idle worker of 8 threads (measured), for
  // little.
  mallopt(M_ARENA_MAX, 2);
  auto settings = ServiceSettings::from(config, environment);
  settings.colour = run.colour;
  settings.private_dirs = run.private_dirs;
  settings.on_ready = run.on_ready;
  validate_pool(config);
  // Before anything else there is: children inherit the program and its tasks, and no log, lock or connection
  // of ours.
  std::optional<ForkServer> forks;
  if (config.command.empty() && config.pool == "processes") {
    // A program that has enqueued has a thread that tells a collector of it: none is to be forked midway.
    Tracer::finish_all();
    forks.emplace(tasks, ForkServer::Settings{.node = settings.node,
                                              .children = concurrency_of(config),
                                              .enter = [&](const ForkServer::Birth& birth) {
                                                open_child_log(settings, birth);
                                              }});
  }
  const int status = run_service(settings, [&](ServiceOutputs outputs) -> std::unique_ptr<Workload> {
    if (!config.command.empty())
      return std::make_unique<Shim>(ShimSettings::from(config, settings, environment), outputs);
    return std::make_unique<WorkerService>(config, tasks, outputs, run.reread, run.signer,
                                           forks ? &*forks : nullptr);
  });
  if (WorkerService::abandoned_handlers()) {
    spdlog::shutdown();
    _exit(status);
  }
  return status;
}

}  // namespace stem
