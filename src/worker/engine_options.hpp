#pragma once

#include <stem/config.hpp>
#include <stem/signing.hpp>
#include <string>
#include <vector>

#include "telemetry/tracer.hpp"
#include "worker/attempts.hpp"

namespace stem {

/// What one worker needs to know. Made from a Config by engine_options().
struct EngineOptions {
  std::string node = "worker";
  std::vector<std::string> queues{"default"};  ///< at the start; Engine::serve() changes them
  std::vector<std::string> broadcasts{};       ///< channels that it listens on, changed in the same way
  int concurrency = 1;
  int max_tasks_per_child = 0;  ///< of a pool of processes, as ChildPool::Rules
  std::uint64_t max_memory_per_child = 0;
  int prefetch_multiplier = 2;
  std::size_t most_ahead = 1000;                  ///< jobs held at once, however quick the handlers are
  std::string name_space = "stem";                ///< whose orders it obeys
  Duration heartbeat = std::chrono::seconds{10};  ///< how often it tells that it lives
  Duration lease = std::chrono::seconds{30};
  Duration soft_time_limit{}, hard_time_limit{};
  AttemptRules rules;
  std::optional<PayloadSigner> signer;  ///< where jobs have to be signed
  std::shared_ptr<Tracer> tracer{};     ///< null = nothing is told to a collector
};

/// How many handlers run at once: what `config` says, or one a processor.
int concurrency_of(const Config& config);

/// Throws Error (exit 78) for a pool that there is not, and for limits of children that there will be none
/// of.
void validate_pool(const Config& config);

/// The options that `config` asks for; fills in what it leaves open (node, queues, one handler a processor).
/// Throws Error as PayloadSigner::maybe().
EngineOptions engine_options(const Config& config);

}  // namespace stem
