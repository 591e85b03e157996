#pragma once

#include <string>

#include "core/metric_snapshot.hpp"

namespace stem {

/// Figures in Prometheus' text format, version 0.0.4. The module that knows it, and prometheus-cpp with it,
/// is loaded by the first of these calls and stays: a worker that shows no page does without both.
/// Thread-safe. Throw Error (exit 78) if it cannot be loaded.
std::string prometheus_page(const MetricSnapshot& snapshot);
/// Loads it now, so that what is missing is told at the start.
void load_prometheus();

}  // namespace stem
