#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/run_times.hpp"
#include "worker/heartbeat.hpp"

namespace stem::cli {

/// How jobs of one kind have ended.
struct Ends {
  std::uint64_t done = 0, failed = 0, retried = 0, cancelled = 0;

  /// Attempts that failed.
  std::uint64_t failures() const { return failed + retried; }
  std::uint64_t all() const { return done + failed + retried + cancelled; }
  /// What has come since `earlier`; all of it, if that is no former state.
  Ends since(const Ends& earlier) const;
  void add(const Ends& others);
};

/// What a heartbeat says in numbers. It may say anything: what makes no sense is 0 or left out.
struct WorkerFigures {
  struct Task {
    Ends ends;
    RunTimes times;
  };

  WallTime at{};
  std::string started;  ///< another one is another process
  std::int64_t busy = 0, concurrency = 0, inflight = 0, memory = 0;
  Ends ends;
  std::optional<Ends> recent;  ///< since the heartbeat before this
  double recent_seconds = 0;
  std::vector<std::string> queues;
  bool paused = false;  ///< it takes nothing from some of them
  std::map<std::string, Task> tasks;
  std::map<std::string, Ends> per_queue;
};

WorkerFigures figures_of(const Heartbeat& beat);

}  // namespace stem::cli
