#pragma once

#include <stem/time.hpp>
#include <string>
#include <variant>
#include <vector>

#include "core/trace_context.hpp"

namespace stem {

using AttributeValue = std::variant<std::string, std::int64_t, double, bool>;
struct Attribute {
  std::string key;
  AttributeValue value;
};

/// One step of a trace: OpenTelemetry's "Tracing API", Span. It was sampled, or it would not be made.
struct Span {
  /// The numbers are those of OTLP.
  enum class Kind { internal = 1, producer = 4, consumer = 5 };

  TraceContext context;
  SpanId parent{};             ///< all zero = the first of its trace
  bool parent_remote = false;  ///< the parent is of another process, as far as is known
  std::string name;
  Kind kind = Kind::internal;
  WallTime start{}, end{};
  std::vector<Attribute> attributes{};
  bool failed = false;
  std::string error{};  ///< of one that failed, for people
};

}  // namespace stem
