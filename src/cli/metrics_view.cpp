#include "cli/metrics_view.hpp"

#include <cmath>
#include <cstdio>
#include <stem/time.hpp>

#include "cli/screen_text.hpp"
#include "cli/table.hpp"

namespace stem::cli {
namespace {

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value == std::floor(value) ? "%.0f" : "%.3g", value);
  return text;
}

/// `3.4 ms`, `12 s`.
std::string length(double seconds) {
  return seconds < 1 ? number(std::round(seconds * 1e5) / 100) + " ms"
                     : number(std::round(seconds * 10) / 10) + " s";
}

/// The end of the bucket that holds the 95th of 100; of those beyond all ends, the longest.
double bound_of_most(const MetricPoint::Spread& spread) {
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < spread.bounds.size(); ++i) {
    so_far += spread.counts[i];
    if (static_cast<double>(so_far) >= 0.95 * static_cast<double>(spread.count))
      return std::min(spread.bounds[i], spread.max);
  }
  return spread.max;
}

std::string value_of(const MetricFamily& family, const MetricPoint& point) {
  const bool seconds = family.unit == "s";
  if (family.type == MetricFamily::Type::histogram) {
    const auto& spread = point.spread;
    auto text = number(static_cast<double>(spread.count));
    if (spread.count > 0)
      text.append(", avg ")
          .append(length(spread.sum / static_cast<double>(spread.count)))
          .append(", p95 up to ")
          .append(length(bound_of_most(spread)));
    return text;
  }
  if (seconds && family.name.ends_with("_time"))
    return format_time(WallTime{Duration{static_cast<std::int64_t>(std::llround(point.value * 1e6))}});
  return seconds ? length(point.value) : number(point.value);
}

}  // namespace

std::string metrics_table(const MetricSnapshot& snapshot) {
  Table table({"METRIC", "LABELS", "VALUE"});
  for (const auto& family : snapshot.families)
    for (const auto& point : family.points) {
      std::string labels;
      for (const auto& [name, value] : point.labels)
        labels.append(labels.empty() ? "" : " ").append(name).append("=").append(harmless(value, false));
      table.add({family.name, labels.empty() ? "-" : labels, value_of(family, point)});
    }
  return table.text();
}

}  // namespace stem::cli
