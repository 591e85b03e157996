#pragma once

#include <stem/time.hpp>
#include <string>

namespace stem {

/// A job that is leased to this worker, for people.
struct HeldJob {
  std::string id;
  std::string task;  ///< empty if its envelope cannot be read
  std::string queue;
  int attempt = 0;
  bool running = false;    ///< else it waits for a handler
  bool cancelled = false;  ///< its handler was asked to stop
  WallTime started_at{};   ///< of a running one
  Duration runtime{};
  int child = 0;  ///< the process of the pool that runs it; 0 = the worker's own
};

}  // namespace stem
