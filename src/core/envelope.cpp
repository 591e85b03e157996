#include <algorithm>
#include <cstdint>
#include <stem/envelope.hpp>
#include <stem/error.hpp>

#include "core/json_depth.hpp"
#include "core/json_text.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

bool is_id(const std::string& id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

std::string to_wire(const Envelope& envelope) {
  if (too_deep(envelope.args) || too_deep(envelope.meta))
    throw Error(Exit::data, "job " + printable(envelope.name) + ": arguments are nested deeper than " +
                                std::to_string(deepest_json) + " levels");
  JsonText json(512);
  const auto time = [&](const char* key, const std::optional<WallTime>& value) {
    value ? json.text(key, format_time(*value)) : json.null(key);
  };
  try {
    json.text("id", envelope.id).text("name", envelope.name).value("args", envelope.args, false);
    json.value("headers", envelope.headers, false);
    time("enqueuedAt", envelope.enqueued_at);
    time("notBefore", envelope.not_before);
    json.number("priority", envelope.priority)
        .number("attempt", envelope.attempt)
        .number("maxRetries", envelope.max_retries);
    if (envelope.visibility_timeout)
      json.number("visibilityTimeout",
                  duration_cast<std::chrono::milliseconds>(*envelope.visibility_timeout).count());
    else
      json.null("visibilityTimeout");
    return std::move(json.text("queue", envelope.queue).value("meta", envelope.meta, false)).finish();
  } catch (const Json::exception&) {
    throw Error(Exit::data, "job " + printable(envelope.name) + ": arguments and headers must be UTF-8 text");
  }
}

void validate(const Envelope& envelope) {
  if (!is_id(envelope.id))
    throw Error(Exit::usage, "bad job id '" + printable(envelope.id) +
                                 "'; an id is 1 to 128 printable characters without blanks");
  require_name("task", envelope.name);
  require_name("queue", envelope.queue);
  if (envelope.priority < 0 || envelope.priority > 9)
    throw Error(Exit::usage, "priority " + std::to_string(envelope.priority) +
                                 " is out of range; it goes from 0 to 9, 9 first");
  if (envelope.max_retries < 0) throw Error(Exit::usage, "max retries must not be negative");
  if (!envelope.args.is_object())
    throw Error(Exit::usage, "arguments of task " + envelope.name +
                                 " must be a JSON object, such as {\"path\":\"/etc/fstab\"}");
}

}  // namespace stem
