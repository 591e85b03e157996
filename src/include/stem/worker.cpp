#include <stem/worker.hpp>

#include "service/credentials.hpp"
#include "service/env_file.hpp"
#include "service/run_worker.hpp"

namespace stem {

int run_worker(const Config& config, const Registry& tasks) {
  return run_worker_service(config, process_environment(), tasks, {});
}

int run_worker(const Config& config, const Registry& tasks, std::optional<PayloadSigner> signer) {
  WorkerRun run;
  run.signer = std::move(signer);
  return run_worker_service(config, process_environment(), tasks, run);
}

Config Config::from_environment() {
  return Config::from(with_credentials(process_environment()));
}

}  // namespace stem
