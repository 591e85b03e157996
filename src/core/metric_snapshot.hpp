#pragma once

#include <cstdint>
#include <span>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stem {

/// One figure, with the labels that tell it from others of its family.
struct MetricPoint {
  using Labels = std::vector<std::pair<std::string, std::string>>;

  /// A histogram: how many observations there were in each bucket.
  struct Spread {
    std::vector<double> bounds;  ///< upper ends, ascending; a last bucket without an end is not among them
    std::vector<std::uint64_t> counts;  ///< of each bucket alone, not added up: one more than bounds
    std::uint64_t count = 0;            ///< the sum of counts
    double sum = 0, min = 0, max = 0;   ///< min and max mean nothing while count is 0

    friend bool operator==(const Spread&, const Spread&) = default;
  };

  Labels labels;  ///< in the order of the table of names
  double value = 0;
  Spread spread{};  ///< of a histogram, in place of the value

  friend bool operator==(const MetricPoint&, const MetricPoint&) = default;
};

/// All figures of one name.
struct MetricFamily {
  enum class Type { counter, gauge, histogram };

  std::string name;  ///< with dots: `stem.tasks.started`
  Type type = Type::gauge;
  std::string unit;  ///< of the values: `s` for lengths of time and instants, empty for numbers of things
  std::string help;  ///< one sentence
  std::vector<MetricPoint> points{};

  friend bool operator==(const MetricFamily&, const MetricFamily&) = default;
};

/// What a process can say in figures of itself, at one instant: docs/metrics.md lists them all. A value;
/// whoever shows or sends figures (the Prometheus page, the control socket, OTLP) begins with one.
class MetricSnapshot {
 public:
  WallTime at{};     ///< when it was taken
  WallTime since{};  ///< when the process began to count
  std::vector<MetricFamily> families{};

  using Labels = MetricPoint::Labels;
  /// The family of that name; a new one has these traits. A reference is good until the next call.
  MetricFamily& family(std::string name, MetricFamily::Type type, std::string unit, std::string help);
  /// One figure that stands alone, or the next of its family.
  void counter(std::string name, std::string help, Labels labels, std::uint64_t value);
  void gauge(std::string name, std::string unit, std::string help, Labels labels, double value);

  const MetricFamily* find(std::string_view name) const;
  /// The point of that family with exactly these labels; null if there is none.
  const MetricPoint* find(std::string_view name, const Labels& labels) const;

  friend bool operator==(const MetricSnapshot&, const MetricSnapshot&) = default;
};

/// `counter`, `gauge` or `histogram`.
const char* to_string(MetricFamily::Type type);

/// The name on a Prometheus page: `stem_tasks_started_total`, `stem_task_duration_seconds`,
/// `stem_queue_depth`.
inline std::string prometheus_name(const MetricFamily& family) {
  auto name = family.name;
  for (char& c : name)
    if (c == '.') c = '_';
  if (family.unit == "s") name.append("_seconds");
  if (family.type == MetricFamily::Type::counter) name.append("_total");
  return name;
}

/// The whole of it, for the control socket: docs/control-socket.md.
Json to_wire(const MetricSnapshot& snapshot);
/// Throws Error (exit 65) if it is not of that form.
MetricSnapshot metric_snapshot_from(const Json& wire);

/// For people and scripts: `{"counters": [{name, tags, value}], "gauges": [{name, tags, value, updatedAt}],
/// "histograms": [{name, tags, count, sum, min, max, avg}], "timestamp", "since"}`. Lengths of time are in
/// milliseconds there, instants in text, and each entry with a unit says it (`unit`).
Json to_json(const MetricSnapshot& snapshot);

}  // namespace stem
