#include <stem/worker.hpp>

#include "service/credentials.hpp"
#include "service/env_file.hpp"
#include "service/run_worker.hpp"

namespace stem {

int run_worker(const Config& config, const Registry& tasks) {
  return run_worker_service(config, process_environment(), tasks, {});
}

Config Config::from_environment() { return Config::from(with_credentials(process_environment())); }

}  // namespace stem
