#pragma once

#include <string>

#include "core/metric_snapshot.hpp"

namespace stem {

/// An ExportMetricsServiceRequest in OTLP's JSON encoding, and how many data points it has.
struct OtlpMetrics {
  std::string body{};
  std::size_t points = 0;
};

/// Counters are cumulative, monotonic sums, histograms cumulative with explicit bounds; both since
/// snapshot.since. `resource` is otlp_attributes() of who tells. A figure that is no number is left out.
OtlpMetrics otlp_metrics(const MetricSnapshot& snapshot, const std::string& resource);

/// One JSON object a line for each figure: `type name value tags timestamp`, and `unit` where there is one;
/// of a histogram count, sum, min, max and avg in place of the value.
std::string metric_lines(const MetricSnapshot& snapshot);

}  // namespace stem
