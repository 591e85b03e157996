#pragma once

#include <stem/config.hpp>

namespace stem {

/// Reads OTEL_*, STEM_OTLP_ENDPOINT and STEM_METRIC_EXPORTERS. Nothing is told to a collector unless an
/// address is given, or an exporter is asked for by name (OTEL_TRACES_EXPORTER=otlp), which then posts to
/// http://localhost:4318.
///
/// What of OTEL_* cannot be used counts as not set, with a line in `warnings`: "Environment Variable
/// Specification" demands it of numbers, enumerations and truth values, and addresses and lists are treated
/// alike. Throws Error (exit 78) for a STEM_OTLP_ENDPOINT, or an address in STEM_METRIC_EXPORTERS, that is
/// none.
TelemetryConfig telemetry_config(const Environment& environment);

}  // namespace stem
