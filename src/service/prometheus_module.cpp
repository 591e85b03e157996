// A module of its own: it alone is linked with prometheus-cpp, and loaded by who shows a page
// (prometheus_page.hpp).

#include <prometheus/text_serializer.h>

#include <limits>

#include "core/metric_snapshot.hpp"

namespace {

using stem::MetricFamily;

prometheus::ClientMetric metric_of(const stem::MetricPoint& point, MetricFamily::Type type) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : point.labels) metric.label.push_back({name, value});
  if (type == MetricFamily::Type::counter) metric.counter.value = point.value;
  if (type == MetricFamily::Type::gauge) metric.gauge.value = point.value;
  if (type != MetricFamily::Type::histogram) return metric;
  const auto& spread = point.spread;
  metric.histogram.sample_count = spread.count;
  metric.histogram.sample_sum = spread.sum;
  std::uint64_t so_far = 0;
  for (std::size_t i = 0; i < spread.counts.size(); ++i) {
    so_far += spread.counts[i];
    metric.histogram.bucket.push_back(
        {so_far, i < spread.bounds.size() ? spread.bounds[i] : std::numeric_limits<double>::infinity()});
  }
  return metric;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void stem_prometheus_page(
    const stem::MetricSnapshot& snapshot, std::string& page) {
  using Type = MetricFamily::Type;
  std::vector<prometheus::MetricFamily> families;
  families.reserve(snapshot.families.size());
  for (const auto& family : snapshot.families) {
    prometheus::MetricFamily shown{stem::prometheus_name(family),
                                   family.help,
                                   family.type == Type::counter ? prometheus::MetricType::Counter
                                   : family.type == Type::gauge ? prometheus::MetricType::Gauge
                                                                : prometheus::MetricType::Histogram,
                                   {}};
    shown.metric.reserve(family.points.size());
    for (const auto& point : family.points) shown.metric.push_back(metric_of(point, family.type));
    families.push_back(std::move(shown));
  }
  page = prometheus::TextSerializer().Serialize(families);
}
