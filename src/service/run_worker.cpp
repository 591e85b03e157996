#include "service/run_worker.hpp"

#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "service/daemon.hpp"
#include "service/shim.hpp"
#include "service/worker_service.hpp"

namespace stem {

int run_worker_service(const Config& config, const Environment& environment, const Registry& tasks,
                       const WorkerRun& run) {
  // By default each thread gets a heap of its own: 2 MiB more for an idle worker of 8 threads (measured), for
  // little.
  mallopt(M_ARENA_MAX, 2);
  auto settings = ServiceSettings::from(config, environment);
  settings.colour = run.colour;
  settings.private_dirs = run.private_dirs;
  settings.on_ready = run.on_ready;
  const int status = run_service(settings, [&](ServiceOutputs outputs) -> std::unique_ptr<Workload> {
    if (!config.command.empty())
      return std::make_unique<Shim>(ShimSettings::from(config, settings, environment), outputs);
    return std::make_unique<WorkerService>(config, tasks, outputs, run.reread, run.signer);
  });
  if (WorkerService::abandoned_handlers()) {
    spdlog::shutdown();
    _exit(status);
  }
  return status;
}

}  // namespace stem
