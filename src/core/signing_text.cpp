#include "core/signing_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <stem/error.hpp>
#include <vector>

#include "core/json_depth.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

/// The order of UTF-16 code units, on UTF-8: that of the bytes, but that a character beyond U+FFFF (first
/// byte F0 or above), which UTF-16 writes as D800 to DFFF, comes before U+E000 to U+FFFF (first byte EE or
/// EF).
bool utf16_less(std::string_view left, std::string_view right) {
  const auto [l, r] = std::mismatch(left.begin(), left.end(), right.begin(), right.end());
  if (r == right.end()) return false;
  if (l == left.end()) return true;
  const auto a = static_cast<unsigned char>(*l), b = static_cast<unsigned char>(*r);
  if (a >= 0xee && b >= 0xee && (a >= 0xf0) != (b >= 0xf0)) return a >= 0xf0;
  return a < b;
}

/// Sorted so, from a map that is in the order of bytes already.
template <class Map>
auto sorted(const Map& map) {
  std::vector<const typename Map::value_type*> rows;
  rows.reserve(map.size());
  bool same_order = true;
  for (const auto& row : map) {
    same_order = same_order &&
                 std::all_of(row.first.begin(), row.first.end(), [](unsigned char c) { return c < 0xee; });
    rows.push_back(&row);
  }
  if (!same_order)
    std::sort(rows.begin(), rows.end(),
              [](auto* left, auto* right) { return utf16_less(left->first, right->first); });
  return rows;
}

void put_text(std::string& out, std::string_view text) {
  constexpr char hex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          (((out += "\\u00") += hex[c >> 4 & 15]) += hex[c & 15]);
        else
          out += c;
    }
  }
  out += '"';
}

void put_integer(std::string& out, std::int64_t number) {
  char text[24];
  out.append(text, std::to_chars(text, text + sizeof text, number).ptr);
}

/// The shortest digits that read back as the same number: as a plain number with a fraction from 1e-6 up to
/// below 1e21, else with an exponent.
void put_double(std::string& out, double number) {
  char text[40];
  const double size = std::fabs(number);
  if (number != 0 && (size < 1e-6 || size >= 1e21)) {
    const std::string_view shortest(
        text, std::to_chars(text, text + sizeof text, number, std::chars_format::scientific).ptr);
    const auto e = shortest.find('e');
    out += shortest.substr(0, e + 2);  // with the sign: 1e+21, 1e-7
    const auto digits = shortest.substr(e + 2);
    out += digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1));
    return;
  }
  // Not chars_format::fixed, which writes the digits of the binary value: 1e20 + 16384 is
  // 100000000000000016384 there, and 100000000000000020000 by the shortest digits.
  const bool negative = std::signbit(number);
  const std::string_view shortest(
      text, std::to_chars(text, text + sizeof text, size, std::chars_format::scientific).ptr);
  const auto e = shortest.find('e');
  int exponent = 0;
  std::from_chars(shortest.data() + e + (shortest[e + 1] == '+' ? 2 : 1), shortest.data() + shortest.size(),
                  exponent);
  std::string digits;
  for (const char c : shortest.substr(0, e))
    if (c != '.') digits += c;
  if (negative) out += '-';
  if (exponent < 0) {
    ((out += "0.") += std::string(static_cast<std::size_t>(-exponent - 1), '0')) += digits;
    return;
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) {
    ((out += digits) += std::string(whole - digits.size(), '0')) += ".0";
  } else {
    ((out += digits.substr(0, whole)) += '.') += digits.substr(whole);
  }
}

void put_value(std::string& out, const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      out += "null";
      return;
    case Json::value_t::boolean:
      out += value.get<bool>() ? "true" : "false";
      return;
    case Json::value_t::number_integer:
      return put_integer(out, value.get<std::int64_t>());
    case Json::value_t::number_unsigned:
      // Other implementations read it as a double: then two integers would share a signature.
      if (value.get<std::uint64_t>() > INT64_MAX)
        throw Error(Exit::data,
                    "the integer " + std::to_string(value.get<std::uint64_t>()) +
                        " is beyond 64 bits with a sign, and cannot be signed; hand it over as text");
      return put_integer(out, value.get<std::int64_t>());
    case Json::value_t::number_float:
      if (!std::isfinite(value.get<double>()))
        throw Error(Exit::data, "a number that is not finite cannot be signed; JSON has none");
      return put_double(out, value.get<double>());
    case Json::value_t::string:
      return put_text(out, value.get_ref<const std::string&>());
    case Json::value_t::array: {
      char before = '[';
      for (const auto& element : value) {
        out += before;
        before = ',';
        put_value(out, element);
      }
      out += before == '[' ? "[]" : "]";
      return;
    }
    case Json::value_t::object: {
      char before = '{';
      for (const auto* row : sorted(value.get_ref<const Json::object_t&>())) {
        out += before;
        before = ',';
        put_text(out, row->first);
        out += ':';
        put_value(out, row->second);
      }
      out += before == '{' ? "{}" : "}";
      return;
    }
    default:
      throw Error(Exit::data, "binary data cannot be signed; hand it over as text");
  }
}

void put_headers(std::string& out, const std::map<std::string, std::string>& headers) {
  char before = '{';
  for (const auto* row : sorted(headers)) {
    if (row->first == signature_header || row->first == signature_key_header) continue;
    out += before;
    before = ',';
    put_text(out, row->first);
    out += ':';
    put_text(out, row->second);
  }
  out += before == '{' ? "{}" : "}";
}

}  // namespace

std::string signing_text(const Envelope& envelope) {
  if (too_deep(envelope.args) || too_deep(envelope.meta))
    throw Error(Exit::data, "job " + printable(envelope.name) + ": arguments are nested deeper than " +
                                std::to_string(deepest_json) + " levels");
  std::string out;
  out.reserve(512);
  const auto time = [&](const std::optional<WallTime>& value) {
    value ? put_text(out, format_time(*value)) : void(out += "null");
  };
  out += R"({"args":)";
  put_value(out, envelope.args);
  out += R"(,"attempt":)";
  put_integer(out, envelope.attempt);
  out += R"(,"enqueuedAt":)";
  time(envelope.enqueued_at);
  out += R"(,"headers":)";
  put_headers(out, envelope.headers);
  out += R"(,"id":)";
  put_text(out, envelope.id);
  out += R"(,"maxRetries":)";
  put_integer(out, envelope.max_retries);
  out += R"(,"meta":)";
  put_value(out, envelope.meta);
  out += R"(,"name":)";
  put_text(out, envelope.name);
  out += R"(,"notBefore":)";
  time(envelope.not_before);
  out += R"(,"priority":)";
  put_integer(out, envelope.priority);
  out += R"(,"queue":)";
  put_text(out, envelope.queue);
  out += R"(,"visibilityTimeoutMs":)";
  if (envelope.visibility_timeout)
    put_integer(out, duration_cast<std::chrono::milliseconds>(*envelope.visibility_timeout).count());
  else
    out += "null";
  return out += '}';
}

}  // namespace stem
