#pragma once

#include <optional>
#include <string>

#include "core/trace_context.hpp"

namespace stem {

/// Which traces are recorded: OpenTelemetry's "Tracing SDK", Sampling.
class Sampler {
 public:
  /// `name` is a value of OTEL_TRACES_SAMPLER, `share` what traceidratio takes.
  Sampler(const std::string& name, double share);

  /// Whether a span is recorded in the trace `id`, whose part before it is `parent`, if there is one. The
  /// parent's word counts with `parentbased_` only. Of one trace, all processes with the same share say the
  /// same.
  bool samples(const TraceId& id, const std::optional<TraceContext>& parent) const;

 private:
  bool parent_decides_;
  std::uint64_t bound_;  ///< of the last 8 bytes of the trace's id
  bool all_;
};

}  // namespace stem
