#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <stem/json.hpp>
#include <string>
#include <vector>

#include "cli/fleet_sample.hpp"
#include "cli/worker_figures.hpp"

namespace stem::cli {

/// Jobs done and attempts failed, a second; empty where that is not known yet.
struct Rates {
  std::optional<double> done, failed;
};

/// What a fleet does, from several samples of it.
struct FleetFigures {
  struct Queue {
    QueueState state;
    Rates rates;
  };
  struct Task {
    std::string name;
    Rates rates;
    Ends ends;                         ///< since its workers started
    std::optional<Duration> p50, p95;  ///< how long its handler ran
    bool lately = false;               ///< these two are of the last seconds, not since the workers started
  };
  struct Worker {
    std::string key, node, host;
    std::shared_ptr<const WorkerFigures> figures;
    Rates rates;
    bool late = false;
  };
  WallTime at{};
  std::vector<Queue> queues;
  std::vector<Task> tasks;
  std::vector<Worker> workers;

  // Of all workers that are not late, and of all queues.
  Rates rates;
  std::int64_t busy = 0, concurrency = 0;
  std::int64_t ready = 0, delayed = 0, leased = 0, dead = 0;
  std::optional<Duration> lag;
  int late = 0;
};

/// `at rates{} busy … queues[] tasks[] workers[]`: an object of docs/control-plane.md's figures for programs.
Json to_json(const FleetFigures& figures);

/// Makes rates of what counters say at two moments. They are of the last `window`, or, where heartbeats are
/// further apart, of the time between two.
class FleetPace {
 public:
  FleetFigures take(const FleetSample& sample);

  static constexpr Duration window = std::chrono::seconds{5};

 private:
  /// A worker's heartbeats of the window, and the last one before it.
  using Past = std::deque<std::shared_ptr<const WorkerFigures>>;
  const Past& remember(const Heartbeat& beat);

  std::map<std::string, Past> pasts_;
};

}  // namespace stem::cli
