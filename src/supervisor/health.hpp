#pragma once

#include <sys/types.h>
#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "supervisor/supervisor.hpp"

namespace stem {

/// Whether a worker is alive and makes progress, and what was seen. Empty = not known.
struct Health {
  bool ok = false;
  std::string error;  ///< one sentence; empty if ok

  std::string node;
  pid_t pid = 0;
  std::optional<WallTime> since;  ///< of the process
  std::optional<Duration> uptime;
  std::optional<std::vector<std::string>> queues;
  std::optional<int> inflight;  ///< jobs leased to it
  std::string supervisor, unit, state;
  bool watchdog_enabled = false;
  std::optional<Duration> watchdog_limit, watchdog_age;
  std::optional<bool> broker_connected;
  std::optional<Duration> broker_age;
  std::string pidfile, logfile;
  Json pool = nullptr;  ///< of a worker of Stem's own: as its control socket has it
};

struct HealthQuery {
  std::string node;
  std::string unit;             ///< empty = the worker's, `stem-worker@NODE.service`
  std::string what = "worker";  ///< what people call it
  std::string pidfile;          ///< empty = where it is expected
  SupervisorSettings supervisor;
};

/// Asks systemd, then the worker's control socket, then looks at the pidfile. No step takes longer than a
/// second, and none asks the broker. Never throws for what it finds.
Health check_health(const HealthQuery& query);

/// The object of `stem worker healthcheck --json`: all keys, null for what is not known.
Json to_json(const Health& health);

}  // namespace stem
