#include <algorithm>
#include <cstdint>
#include <stem/envelope.hpp>
#include <stem/error.hpp>

#include "core/json_depth.hpp"
#include "core/json_text.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

[[noreturn]] void malformed(const std::string& why) { throw Error(Exit::data, "malformed envelope: " + why); }

/// The value of `key`, or null if it is absent.
const Json& at(const Json& json, const char* key) {
  static const Json absent;
  const auto found = json.find(key);
  return found == json.end() ? absent : *found;
}

std::string text(const Json& json, const char* key, const std::string& fallback) {
  const auto& value = at(json, key);
  if (value.is_null()) return fallback;
  if (!value.is_string()) malformed(std::string("'") + key + "' must be a string");
  return value.get<std::string>();
}

std::int64_t integer(const Json& json, const char* key, std::int64_t low, std::int64_t high) {
  const auto& value = at(json, key);
  if (value.is_null()) return 0;
  if (!value.is_number_integer()) malformed(std::string("'") + key + "' must be an integer");
  const auto number = value.get<std::int64_t>();
  if ((value.is_number_unsigned() && number < 0) || number < low || number > high)
    malformed(std::string("'") + key + "' is out of range");
  return number;
}

/// Moved out of `json`, for arguments may be large.
Json object(Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return Json::object();
  if (!found->is_object()) malformed(std::string("'") + key + "' must be an object");
  return std::move(*found);
}

std::optional<WallTime> time(const Json& json, const char* key) {
  const auto& value = at(json, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_string()) malformed(std::string("'") + key + "' must be an ISO 8601 time");
  return parse_time(value.get_ref<const std::string&>());
}

bool is_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::string to_wire(const Envelope& envelope) {
  if (too_deep(envelope.args) || too_deep(envelope.meta))
    throw Error(Exit::data, "job " + printable(envelope.name) + ": arguments are nested deeper than " + std::to_string(deepest_json) + " levels");
  JsonText json(512);
  const auto time = [&](const char* key, const std::optional<WallTime>& value) {
    value ? json.text(key, format_time(*value)) : json.null(key);
  };
  try {
    json.text("id", envelope.id).text("name", envelope.name).value("args", envelope.args, false);
    json.value("headers", envelope.headers, false);
    time("enqueuedAt", envelope.enqueued_at);
    time("notBefore", envelope.not_before);
    json.number("priority", envelope.priority).number("attempt", envelope.attempt).number("maxRetries", envelope.max_retries);
    if (envelope.visibility_timeout)
      json.number("visibilityTimeout", duration_cast<std::chrono::milliseconds>(*envelope.visibility_timeout).count());
    else
      json.null("visibilityTimeout");
    return std::move(json.text("queue", envelope.queue).value("meta", envelope.meta, false)).finish();
  } catch (const Json::exception&) {
    throw Error(Exit::data, "job " + printable(envelope.name) + ": arguments and headers must be UTF-8 text");
  }
}

Envelope envelope_from_wire(std::string_view wire) {
  if (text_too_deep(wire)) malformed("it is nested deeper than " + std::to_string(deepest_json) + " levels");
  Json json;
  try {
    json = Json::parse(wire);
  } catch (const Json::exception&) {
    malformed("it is not JSON");
  }
  if (!json.is_object()) malformed("it is not a JSON object");

  Envelope envelope;
  envelope.id = text(json, "id", "");
  envelope.name = text(json, "name", "");
  if (envelope.id.empty()) malformed("'id' is missing");
  if (envelope.name.empty()) malformed("'name' is missing");
  if (at(json, "args").is_null()) malformed("'args' is missing");
  envelope.args = object(json, "args");
  const auto headers = object(json, "headers");
  for (const auto& [key, value] : headers.items()) {
    if (!value.is_string()) malformed("header '" + printable(key) + "' must be a string");
    envelope.headers[key] = value.get<std::string>();
  }
  envelope.enqueued_at = time(json, "enqueuedAt").value_or(WallTime{});
  envelope.not_before = time(json, "notBefore");
  envelope.priority = static_cast<int>(std::clamp<std::int64_t>(integer(json, "priority", INT32_MIN, INT32_MAX), 0, 9));
  envelope.attempt = static_cast<int>(integer(json, "attempt", 0, INT32_MAX));
  envelope.max_retries = static_cast<int>(integer(json, "maxRetries", 0, INT32_MAX));
  if (!at(json, "visibilityTimeout").is_null())
    envelope.visibility_timeout =
        std::chrono::milliseconds{integer(json, "visibilityTimeout", 0, std::int64_t{1} << 50)};
  envelope.queue = text(json, "queue", "default");
  envelope.meta = object(json, "meta");
  return envelope;
}

void validate(const Envelope& envelope) {
  if (!is_id(envelope.id))
    throw Error(Exit::usage, "bad job id '" + printable(envelope.id) + "'; an id is 1 to 128 printable characters without blanks");
  require_name("task", envelope.name);
  require_name("queue", envelope.queue);
  if (envelope.priority < 0 || envelope.priority > 9)
    throw Error(Exit::usage, "priority " + std::to_string(envelope.priority) + " is out of range; it goes from 0 to 9, 9 first");
  if (envelope.max_retries < 0) throw Error(Exit::usage, "max retries must not be negative");
  if (!envelope.args.is_object())
    throw Error(Exit::usage, "arguments of task " + envelope.name + " must be a JSON object, such as {\"path\":\"/etc/fstab\"}");
}

}  // namespace stem
