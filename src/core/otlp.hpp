#pragma once

#include <span>
#include <string>

#include "core/span.hpp"

namespace stem {

// Requests of OTLP 1.x in its JSON encoding (OpenTelemetry's "OTLP Specification", JSON Protobuf Encoding):
// names in lowerCamelCase, ids in hexadecimal, enumerations as numbers, 64-bit numbers as strings. Bytes that
// are not UTF-8 are replaced.

/// `[{"key":…,"value":{…}},…]`.
std::string otlp_attributes(std::span<const Attribute> attributes);

/// An ExportTraceServiceRequest. `resource` is otlp_attributes() of who tells.
std::string otlp_traces(std::span<const Span> spans, const std::string& resource);

/// `{"name":"stem","version":…}`, what all of it comes from.
std::string otlp_scope();

}  // namespace stem
