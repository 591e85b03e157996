#pragma once

#include <optional>
#include <stem/time.hpp>
#include <string>

#include "core/listen_address.hpp"
#include "core/metric_snapshot.hpp"

namespace stem {

/// Asks the worker or scheduler behind a control socket for its figures. Throws Error as ask_worker(), and 65
/// if they make no sense.
MetricSnapshot ask_metrics(const std::string& control_socket);

struct MetricsExporterSettings {
  std::string node;                       ///< for messages
  std::string control_socket;             ///< of the node
  std::optional<ListenAddress> listen{};  ///< empty = the sockets that systemd has handed over
  std::optional<Duration> idle{};         ///< ends when nobody has come for so long; empty = never
};

/// Serves the page of metrics of a node on this machine, by asking its control socket each time, so that the
/// node pays nothing while nobody scrapes, and is not started by a scrape. A node that does not answer is 503
/// with the reason. Until SIGTERM, SIGINT or the end of `idle`; returns the exit status. Throws Error: 64
/// there is nothing to listen at, and as MetricsServer. Once a process.
int run_metrics_exporter(const MetricsExporterSettings& settings);

}  // namespace stem
