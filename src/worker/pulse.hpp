#pragma once

#include <stem/json.hpp>
#include <string>

#include "storage/open.hpp"
#include "worker/counters.hpp"
#include "worker/engine_options.hpp"

namespace stem {

/// When a worker writes its heartbeat, and what has come since the last one. For the broker thread; what
/// talks to the store throws Error.
class Pulse {
 public:
  /// All of them outlive it.
  Pulse(const EngineOptions& options, const Counters& counters, Store& results, std::string host,
        const Clock& clock)
      : options_(options), counters_(counters), results_(results), host_(std::move(host)), clock_(clock) {}

  /// When the next is due.
  SteadyTime next() const { return next_; }
  /// At once: something has changed that those who look on shall see.
  void hurry() { next_ = {}; }
  /// Writes one that says these facts. The next is due an interval later, also if this one fails.
  void beat(Json facts);
  /// The worker ends: takes it along.
  void end();

  /// Somebody looks on, and for a while wants more of them; of several the one who wants most is served.
  /// Returns what is given. Throws Error (exit 65) if `wanted` lacks everyMs or forMs.
  Json watch(const Json& wanted);

 private:
  Duration interval(SteadyTime now) const;

  const EngineOptions& options_;
  const Counters& counters_;
  Store& results_;
  const std::string host_;
  const Clock& clock_;
  SteadyTime next_{};
  Duration watched_every_{};
  SteadyTime watched_until_{};
  struct Counted {
    SteadyTime at{};
    std::uint64_t done = 0, failed = 0, retried = 0;
  } counted_;  ///< at the last heartbeat
};

}  // namespace stem
