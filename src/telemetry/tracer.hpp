#pragma once

#include <memory>

#include "core/sampler.hpp"
#include "telemetry/exporter.hpp"

namespace stem {

/// Who tells a collector: attributes of the resource that everything comes from.
struct TelemetrySource {
  std::string name_space =
      "stem";          ///< STEM_WORKER_NAMESPACE; the service's name, where OTEL_SERVICE_NAME is not set
  std::string node{};  ///< service.instance.id; empty = a program that only enqueues

  friend bool operator==(const TelemetrySource&, const TelemetrySource&) = default;
};

/// What a process tells a collector of, and which of it. Thread-safe. Spans are made with its help by whoever
/// has one to tell of: child_of(), and then, if the context is sampled and there is room(), add().
class Tracer {
 public:
  Tracer(const TelemetryConfig& config, const TelemetrySource& source, ExporterReport report = {});

  /// The one of this process for this configuration and source, made if there is none: a source without a
  /// node tells with whoever has its namespace, so workers and the Stem objects of their handlers tell
  /// together. Null if nothing is to be told, or after end_all(). What it holds is sent when the last holder
  /// lets go of it, or exit() is called, for `last_words` at the most. `report` hears of it, unless somebody
  /// does already. Thread-safe; a forked child gets its own.
  static std::shared_ptr<Tracer> shared(const TelemetryConfig& config, const TelemetrySource& source,
                                        ExporterReport report = {});

  /// From now on those of shared() live until finish_all(), although nobody holds them: for a process that
  /// makes and drops Stem objects job by job.
  static void keep_all();
  /// What they hold is sent, for `last_words` at the most in all, and they are told nothing any more. Before
  /// an _exit(). Thread-safe.
  static void finish_all();
  /// finish_all(), and from now on shared() has none, nor has it in a child that is forked later: for the end
  /// of the process. Thread-safe.
  static void end_all();

  /// Whether spans are told of; if not, contexts are handed on as they came.
  bool on() const { return on_; }
  /// The context of a new span below `parent`, or of the first span of a new trace.
  TraceContext child_of(const std::optional<TraceContext>& parent) const;
  /// As Exporter::room().
  bool room(std::size_t spans = 1) { return exporter_.room(spans); }
  void add(Span&& span) { exporter_.add(std::move(span)); }

  Exporter& exporter() { return exporter_; }
  const std::string& host() const { return host_; }
  const std::string& resource() const { return resource_; }
  const TelemetryConfig& config() const { return config_; }
  bool tells_metrics() const { return !config_.metrics.url.empty() || config_.console; }

  static constexpr Duration last_words = std::chrono::seconds{2};

 private:
  const TelemetryConfig config_;
  const bool on_;
  const std::string host_;
  const std::string resource_;
  const Sampler sampler_;
  Exporter exporter_;
};

}  // namespace stem
