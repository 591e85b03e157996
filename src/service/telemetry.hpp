#pragma once

#include <functional>
#include <memory>
#include <stem/config.hpp>

#include "core/metric_snapshot.hpp"
#include "telemetry/tracer.hpp"

namespace stem {

/// What a service tells a collector with, whose troubles go to the log; null if it tells nobody. Logs what of
/// OTEL_* is ignored.
std::shared_ptr<Tracer> start_telemetry(const Config& config);

/// Adds what was given up: `stem.exporter.dropped`.
void measure_telemetry(Tracer& tracer, MetricSnapshot& snapshot);

/// While it lives, the figures of `source` go to the collector, and, if the configuration asks for it, to
/// standard output. At its end they go there once more, with all spans that wait, for Tracer::last_words at
/// the most: then nothing is told any more.
class MetricsTelling {
 public:
  /// `tracer` may be null: then nothing is told. `source` is called on the exporter's thread.
  MetricsTelling(std::shared_ptr<Tracer> tracer, std::function<MetricSnapshot()> source);
  ~MetricsTelling();
  MetricsTelling(const MetricsTelling&) = delete;
  MetricsTelling& operator=(const MetricsTelling&) = delete;

 private:
  const std::shared_ptr<Tracer> tracer_;
};

}  // namespace stem
