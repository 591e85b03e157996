#include "service/telemetry.hpp"

#include <spdlog/spdlog.h>

#include <cstdio>

#include "core/otlp_metrics.hpp"

namespace stem {

std::shared_ptr<Tracer> start_telemetry(const Config& config) {
  for (const auto& warning : config.telemetry.warnings) spdlog::warn("{}", warning);
  if (config.telemetry.prometheus && config.metrics_listen.empty())
    spdlog::warn(
        "STEM_METRIC_EXPORTERS has prometheus, but STEM_METRICS_LISTEN does not say where; no page is "
        "served");
  return Tracer::shared(
      config.telemetry, {config.name_space, config.node.empty() ? "worker" : config.node},
      [](bool good, const std::string& line) { good ? spdlog::info("{}", line) : spdlog::warn("{}", line); });
}

void measure_telemetry(Tracer& tracer, MetricSnapshot& snapshot) {
  const auto dropped = tracer.exporter().dropped();
  const auto count = [&](const char* signal, std::uint64_t number) {
    snapshot.counter("stem.exporter.dropped", "Spans, and points of metrics, that no collector took.",
                     {{"signal", signal}}, number);
  };
  count("traces", dropped.spans);
  count("metrics", dropped.points);
}

MetricsTelling::MetricsTelling(std::shared_ptr<Tracer> tracer, std::function<MetricSnapshot()> source)
    : tracer_(std::move(tracer)) {
  if (!tracer_ || !tracer_->tells_metrics()) return;
  tracer_->exporter().tell_metrics([tracer = tracer_.get(), source = std::move(source)] {
    const auto snapshot = source();
    if (tracer->config().console) {
      const auto lines = metric_lines(snapshot);
      std::fwrite(lines.data(), 1, lines.size(), stdout);
      std::fflush(stdout);
    }
    auto told = otlp_metrics(snapshot, tracer->resource());
    return MetricsRequest{std::move(told.body), told.points};
  });
}

MetricsTelling::~MetricsTelling() {
  if (!tracer_) return;
  tracer_->exporter().finish(Tracer::last_words);
  tracer_->exporter().forget_metrics();
}

}  // namespace stem
