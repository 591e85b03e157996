#include "core/otel_variables.hpp"

#include <algorithm>
#include <stem/error.hpp>

#include "core/json_text.hpp"
#include "core/name.hpp"
#include "core/redaction.hpp"
#include "core/setting_value.hpp"

namespace stem {
namespace {

using setting_value::lower;
using setting_value::trimmed;

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = high >= 0 ? digit(text[i + 2]) : -1;
    if (low < 0) return std::nullopt;
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view others = "!#$%&'*+-.^_`|~";  // RFC 9110, section 5.6.2
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != others.npos;
  });
}

/// Without what would end the header, and begin another.
bool is_header_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(),
                      [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

}  // namespace

template <class Reading>
auto OtelVariables::read(const std::string& name, Reading reading) -> std::optional<decltype(reading(name))> {
  const auto value = text(name);
  if (value.empty()) return std::nullopt;
  try {
    return reading(value);
  } catch (const Error& error) {
    ignore(name, std::string("it must be ").append(error.what()));
    return std::nullopt;
  }
}

std::string OtelVariables::text(const std::string& name) const {
  const auto found = environment_.find(name);
  return found == environment_.end() ? std::string() : trimmed(found->second);
}

std::vector<std::string> OtelVariables::items(const std::string& name) const {
  const auto all = text(name);
  std::string_view list = all;
  std::vector<std::string> parts;
  while (!list.empty()) {
    const auto one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), one.size() + 1));
    if (auto part = trimmed(std::string(one)); !part.empty()) parts.push_back(std::move(part));
  }
  return parts;
}

bool OtelVariables::truth(const std::string& name) {
  const auto word = lower(text(name));
  if (!word.empty() && word != "true" && word != "false") ignore(name, "it must be true or false");
  return word == "true";
}

std::string OtelVariables::word(const std::string& name, std::initializer_list<const char*> known) {
  return read(name, [&](const std::string& value) { return setting_value::one_of(lower(value), known); })
      .value_or(std::string());
}

std::optional<int> OtelVariables::number(const std::string& name, int low, int high) {
  return read(name, [&](const std::string& value) { return setting_value::whole(value, low, high); });
}

std::optional<double> OtelVariables::share(const std::string& name) {
  return read(name, [](const std::string& value) {
    return setting_value::real(value, 0, 1, "a number from 0 to 1");
  });
}

std::string OtelVariables::address(const std::string& name) {
  auto value = text(name);
  if (value.empty() || is_address(value)) return value;
  ignore(name, "it must be an address such as http://HOST:4318", false);
  return {};
}

std::optional<std::map<std::string, std::string>> OtelVariables::pairs(const std::string& name,
                                                                       bool headers) {
  const auto all = items(name);
  if (all.empty()) return std::nullopt;
  std::map<std::string, std::string> pairs;
  for (const auto& item : all) {
    const auto equals = item.find('=');
    const auto key = percent_decoded(trimmed(item.substr(0, equals)));
    const auto value = equals == item.npos ? std::nullopt : percent_decoded(trimmed(item.substr(equals + 1)));
    const bool sound = key && value && !key->empty() && is_utf8(*key) && is_utf8(*value) &&
                       (!headers || (is_header_name(*key) && is_header_value(*value)));
    if (!sound) {
      // Of what may be a secret not even a part is quoted.
      ignore(name, "entry " + std::to_string(pairs.size() + 1) + " is not NAME=VALUE, percent-encoded",
             false);
      return std::nullopt;
    }
    pairs.insert_or_assign(headers ? lower(*key) : *key, *value);
  }
  return pairs;
}

void OtelVariables::ignore(const std::string& name, const std::string& why, bool quote) {
  std::string line = name;
  if (quote) line.append("='").append(redacted(printable(text(name)))).append("'");
  line.append(" is ignored: ").append(why);
  if (std::find(warnings_.begin(), warnings_.end(), line) == warnings_.end())
    warnings_.push_back(std::move(line));
}

bool OtelVariables::is_address(std::string_view url) {
  const auto rest = url.starts_with("http://")    ? url.substr(7)
                    : url.starts_with("https://") ? url.substr(8)
                                                  : std::string_view{};
  if (rest.empty() || rest.front() == '/' || rest.front() == ':' || rest.front() == '?') return false;
  return std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace stem
