#include "worker/engine_options.hpp"

#include <algorithm>
#include <stem/error.hpp>
#include <thread>

#include "core/name.hpp"
#include "worker/routing_file.hpp"

namespace stem {

int concurrency_of(const Config& config) {
  return config.concurrency > 0 ? config.concurrency
                                : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

void validate_pool(const Config& config) {
  if (config.pool != "threads" && config.pool != "processes")
    throw Error(Exit::config, "there is no pool '" + printable(config.pool) +
                                  "'; STEM_WORKER_POOL, or Config::pool, is threads or processes");
  if (config.pool == "processes" || !config.command.empty()) return;
  const char* set = config.max_tasks_per_child > 0    ? "STEM_WORKER_MAX_TASKS_PER_CHILD"
                    : config.max_memory_per_child > 0 ? "STEM_WORKER_MAX_MEMORY_PER_CHILD"
                                                      : nullptr;
  if (set)
    throw Error(Exit::config, std::string(set) +
                                  " is set, but handlers run on threads, which have no children; set "
                                  "STEM_WORKER_POOL=processes, or unset it");
}

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
  options.concurrency = concurrency_of(config);
  options.max_tasks_per_child = config.max_tasks_per_child;
  options.max_memory_per_child = config.max_memory_per_child;
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
