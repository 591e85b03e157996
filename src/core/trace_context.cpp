#include "core/trace_context.hpp"

#include <algorithm>
#include <span>

#include "core/random_bits.hpp"

namespace stem {
namespace {

constexpr std::size_t longest_state = 512;
constexpr std::ptrdiff_t most_members = 32;

std::string hex(std::span<const std::uint8_t> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const auto byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool read_hex(std::string_view text, std::span<std::uint8_t> bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

template <class Id>
bool is_none(const Id& id) {
  return std::all_of(id.begin(), id.end(), [](auto byte) { return byte == 0; });
}

template <class Id>
Id new_id_of() {
  Id id{};
  do {
    for (std::size_t at = 0; at < id.size(); at += 8) {
      const auto bits = random_bits();
      for (std::size_t i = 0; i < 8; ++i) id[at + i] = static_cast<std::uint8_t>(bits >> (8 * i));
    }
  } while (is_none(id));
  return id;
}

}  // namespace

std::string to_hex(const TraceId& id) {
  return hex(id);
}
std::string to_hex(const SpanId& id) {
  return hex(id);
}
TraceId new_trace_id() {
  return new_id_of<TraceId>();
}
SpanId new_span_id() {
  return new_id_of<SpanId>();
}

std::optional<TraceContext> parse_traceparent(std::string_view text) {
  // version "-" trace-id "-" parent-id "-" trace-flags
  constexpr std::size_t size = 2 + 1 + 32 + 1 + 16 + 1 + 2;
  if (text.size() < size || text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  std::array<std::uint8_t, 1> version{}, flags{};
  TraceContext context;
  if (!read_hex(text, version) || !read_hex(text.substr(3), context.trace) ||
      !read_hex(text.substr(36), context.span) || !read_hex(text.substr(53), flags))
    return std::nullopt;
  if (version[0] == 0xff || is_none(context.trace) || is_none(context.span)) return std::nullopt;
  // What a later version appends begins with a dash.
  if (version[0] == 0 ? text.size() != size : text.size() > size && text[size] != '-') return std::nullopt;
  context.sampled = (flags[0] & 1) != 0;
  return context;
}

std::string to_traceparent(const TraceContext& context) {
  std::string text = "00-";
  text.append(to_hex(context.trace))
      .append("-")
      .append(to_hex(context.span))
      .append(context.sampled ? "-01" : "-00");
  return text;
}

bool is_tracestate(std::string_view text) {
  return !text.empty() && text.size() <= longest_state && text.find('=') != text.npos &&
         std::count(text.begin(), text.end(), ',') < most_members &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\t'; });
}

std::optional<TraceContext> trace_context_of(const std::map<std::string, std::string>& headers) {
  const auto parent = headers.find(traceparent_header);
  if (parent == headers.end()) return std::nullopt;
  auto context = parse_traceparent(parent->second);
  if (!context) return std::nullopt;
  if (const auto state = headers.find(tracestate_header);
      state != headers.end() && is_tracestate(state->second))
    context->state = state->second;
  return context;
}

void put_trace_context(std::map<std::string, std::string>& headers,
                       const std::optional<TraceContext>& context) {
  if (!context) {
    headers.erase(traceparent_header);
    headers.erase(tracestate_header);
    return;
  }
  headers.insert_or_assign(traceparent_header, to_traceparent(*context));
  if (context->state.empty())
    headers.erase(tracestate_header);
  else
    headers.insert_or_assign(tracestate_header, context->state);
}

}  // namespace stem
