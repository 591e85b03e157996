#include "core/otlp.hpp"

#include <algorithm>
#include <stem/version.hpp>

#include "core/json_text.hpp"

namespace stem {
namespace {

std::string nanoseconds(WallTime time) {
  return std::to_string(std::max<std::int64_t>(time.time_since_epoch().count(), 0)).append("000");
}

std::string otlp_value(const AttributeValue& value) {
  JsonText json(48);
  if (const auto* text = std::get_if<std::string>(&value))
    json.text("stringValue", *text);
  else if (const auto* number = std::get_if<std::int64_t>(&value))
    json.text("intValue", std::to_string(*number));
  else if (const auto* fraction = std::get_if<double>(&value))
    json.fraction("doubleValue", *fraction);
  else
    json.boolean("boolValue", std::get<bool>(value));
  return std::move(json).finish();
}

void append_span(std::string& list, const Span& span) {
  constexpr SpanId none{};
  // Bits 8 and 9 say whether the parent is remote (opentelemetry/proto/trace/v1/trace.proto, SpanFlags).
  const int flags = (span.context.sampled ? 1 : 0) | 0x100 | (span.parent_remote ? 0x200 : 0);
  JsonText json(1024);
  json.text("traceId", to_hex(span.context.trace)).text("spanId", to_hex(span.context.span));
  if (!span.context.state.empty()) json.text("traceState", span.context.state);
  if (span.parent != none) json.text("parentSpanId", to_hex(span.parent));
  json.number("flags", flags).text("name", span.name).number("kind", static_cast<int>(span.kind));
  json.text("startTimeUnixNano", nanoseconds(span.start))
      .text("endTimeUnixNano", nanoseconds(std::max(span.start, span.end)));
  json.raw("attributes", otlp_attributes(span.attributes));
  if (span.failed) {
    JsonText status(64);
    status.number("code", 2).text("message", span.error);
    json.raw("status", std::move(status).finish());
  }
  list += list.empty() ? "" : ",";
  list += std::move(json).finish();
}

}  // namespace

std::string otlp_attributes(std::span<const Attribute> attributes) {
  std::string list = "[";
  for (const auto& one : attributes) {
    if (list.size() > 1) list += ',';
    JsonText json(96);
    json.text("key", one.key).raw("value", otlp_value(one.value));
    list += std::move(json).finish();
  }
  return list += ']';
}

std::string otlp_scope() {
  JsonText json(64);
  json.text("name", "stem").text("version", version);
  return std::move(json).finish();
}

std::string otlp_traces(std::span<const Span> spans, const std::string& resource) {
  std::string list;
  list.reserve(spans.size() * 1024);
  for (const auto& span : spans) append_span(list, span);
  std::string request = R"({"resourceSpans":[{"resource":{"attributes":)";
  request.append(resource).append(R"(},"scopeSpans":[{"scope":)").append(otlp_scope());
  return request.append(R"(,"spans":[)").append(list).append("]}]}]}");
}

}  // namespace stem
