#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stem/error.hpp>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "core/metric_snapshot.hpp"
#include "core/stop_mode.hpp"

namespace stem {

class Tracer;

/// What a workload says of itself, at one instant. Read by STATUS=, the watchdog, the control socket and,
/// later, the metrics; written by nobody but the workload.
struct Vitals {
  bool ready = false;  ///< may say READY=1: the broker has answered
  std::string status;  ///< the line for `systemctl status`: `3/8 busy · 1,284 done · 2 failed · default`
  std::vector<std::string> stuck;  ///< parts that make no progress, with the reason; empty = healthy
  std::optional<pid_t> child;      ///< the foreign program, in a shim
  bool feeds_watchdog = false;     ///< the workload sends WATCHDOG=1 itself: a shim's program that knows how

  std::vector<std::string> queues;
  int concurrency = 0;
  int busy = 0;      ///< handlers that run
  int inflight = 0;  ///< jobs leased to this process
  std::uint64_t done = 0, failed = 0, retried = 0;
  bool broker_connected = false;
  std::optional<Duration> broker_age;  ///< since the broker last answered
  std::uint64_t drained = 0;  ///< grows with each job that ends, while stopping: the reason to extend time
};

/// What the main loop of a service keeps alive: the worker engine, the shim of a foreign command, the
/// scheduler. All calls come from the main thread and return at once.
class Workload {
 public:
  virtual ~Workload() = default;

  /// Begins. Throws Error for what is wrong before anything runs.
  virtual void start() = 0;
  /// Polls readable when vitals() may have changed in a way that cannot wait for the next tick: ready,
  /// finished, or from idle to busy. While nothing runs the main loop sleeps for half the watchdog's limit,
  /// or for 15 seconds.
  virtual int event_fd() const = 0;
  virtual void clear_event() = 0;

  virtual Vitals vitals() const = 0;
  /// Adds what the workload can say of itself in figures. Thread-safe, from start() on.
  virtual void measure(MetricSnapshot&) const {}
  /// What tells a collector of it; null if nothing does.
  virtual std::shared_ptr<Tracer> tracer() const { return nullptr; }
  /// Set once the workload has ended, with the exit status of the service. Asked or unasked.
  virtual std::optional<int> finished() const = 0;

  /// Where jobs are run, for who asks after the service's health; null = nothing to say.
  virtual Json pool() const { return nullptr; }

  /// How the workload itself was told to end, by its own ways; the service then ends as if told by a signal,
  /// and is not started again.
  virtual std::optional<StopMode> told_to_stop() const { return std::nullopt; }

  /// Begins to end. Called again with a harder mode if the user is impatient.
  virtual void stop(StopMode mode) = 0;
  /// Takes over what may change while running. Throws Error; the old configuration stays in force then.
  virtual void reload() = 0;
  /// A signal that is the workload's own business (a shim forwards USR1, USR2, WINCH, TTIN, TTOU, TSTP…).
  virtual void signal(int number) = 0;
};

}  // namespace stem
