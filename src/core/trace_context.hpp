#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace stem {

using TraceId = std::array<std::uint8_t, 16>;
using SpanId = std::array<std::uint8_t, 8>;

inline constexpr const char* traceparent_header = "traceparent";
inline constexpr const char* tracestate_header = "tracestate";

/// Where in a trace something happens: W3C Trace Context, https://www.w3.org/TR/trace-context/. It travels in
/// a job's headers.
struct TraceContext {
  TraceId trace{};
  SpanId span{};
  bool sampled = false;
  std::string state{};  ///< `tracestate`, as it came; other systems' own

  friend bool operator==(const TraceContext&, const TraceContext&) = default;
};

/// Lower-case hexadecimal.
std::string to_hex(const TraceId& id);
std::string to_hex(const SpanId& id);

/// Never all zero, which means none. Thread-safe.
TraceId new_trace_id();
SpanId new_span_id();

/// Empty if the text is malformed, as the standard has it: other versions than 00 may be longer, `ff` is
/// none, upper case is wrong, ids are not all zero. Never throws: whoever sends a wrong header gets a new
/// trace.
std::optional<TraceContext> parse_traceparent(std::string_view text);
/// Version 00, without `state`.
std::string to_traceparent(const TraceContext& context);

/// Whether it may be handed on: at most 32 members and 512 characters, printable. Else it is left out, the
/// trace goes on.
bool is_tracestate(std::string_view text);

/// What the headers say. Empty without a `traceparent` that is one.
std::optional<TraceContext> trace_context_of(const std::map<std::string, std::string>& headers);
/// Sets both headers, or removes them if there is no context.
void put_trace_context(std::map<std::string, std::string>& headers,
                       const std::optional<TraceContext>& context);

}  // namespace stem
