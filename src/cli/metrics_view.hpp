#pragma once

#include <string>

#include "core/metric_snapshot.hpp"

namespace stem::cli {

/// A line for each figure: name, labels, value. Of histograms how many, on average, and below what 95 of 100
/// were.
std::string metrics_table(const MetricSnapshot& snapshot);

}  // namespace stem::cli
