#include "core/json_text.hpp"

#include <algorithm>

namespace stem {

void JsonText::begin(std::string_view key) {
  text_ += text_.empty() ? "{\"" : ",\"";
  text_ += key;
  text_ += "\":";
}

JsonText& JsonText::text(std::string_view key, std::string_view value) {
  begin(key);
  const bool plain = std::all_of(value.begin(), value.end(),
                                 [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
  if (plain) {
    text_ += '"';
    text_ += value;
    text_ += '"';
  } else {
    text_ += Json(value).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return *this;
}

JsonText& JsonText::number(std::string_view key, std::int64_t value) {
  return raw(key, std::to_string(value));
}
JsonText& JsonText::fraction(std::string_view key, double value) {
  return raw(key, Json(value).dump());
}

JsonText& JsonText::null(std::string_view key) {
  return raw(key, "null");
}
JsonText& JsonText::boolean(std::string_view key, bool value) {
  return raw(key, value ? "true" : "false");
}

JsonText& JsonText::value(std::string_view key, const Json& value, bool lossy) {
  if (value.is_null()) return null(key);
  return raw(key, value.dump(-1, ' ', false,
                             lossy ? Json::error_handler_t::replace : Json::error_handler_t::strict));
}

JsonText& JsonText::raw(std::string_view key, std::string_view json) {
  begin(key);
  text_ += json;
  return *this;
}

bool is_utf8(std::string_view text) {
  // The JSON writer is strict, so it serves as the check.
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

}  // namespace stem
