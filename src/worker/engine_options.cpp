#include "worker/engine_options.hpp"

#include <algorithm>
#include <stem/error.hpp>
#include <thread>

#include "worker/routing_file.hpp"

namespace stem {

EngineOptions engine_options(const Config& config) {
  EngineOptions options;
  options.node = config.node.empty() ? "worker" : config.node;
  const auto routing = routing_of(config).routing;
  options.queues = config.queues.empty() ? std::vector{routing.default_queue} : config.queues;
  for (auto& queue : options.queues) queue = routing.queue_called(queue);
  options.broadcasts = config.broadcasts;
  for (const auto& channel : options.broadcasts)
    if (!config.routing_file.empty() && !routing.broadcasts.contains(channel))
      throw Error(Exit::config,
                  "the worker is to listen on '" + channel + "', which is not among `broadcasts` of " +
                      config.routing_file +
                      "; nobody would send anything there: correct STEM_WORKER_BROADCASTS or the file");
  options.concurrency = config.concurrency > 0
                            ? config.concurrency
                            : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  options.prefetch_multiplier = config.prefetch_multiplier;
  options.name_space = config.name_space;
  options.heartbeat = config.heartbeat;
  options.lease = config.lease;
  options.soft_time_limit = config.soft_time_limit;
  options.hard_time_limit = config.hard_time_limit;
  options.rules = {options.node, config.max_deliveries, config.retry, config.result_ttl};
  options.signer = PayloadSigner::maybe(config);
  return options;
}

}  // namespace stem
