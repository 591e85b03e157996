#include "storage/redis_fields.hpp"

#include <array>
#include <charconv>

#include "core/envelope_field.hpp"
#include "core/json_depth.hpp"
#include "core/json_text.hpp"

namespace stem {
namespace {

using enum EnvelopeField;
constexpr auto& names = envelope_field_names;

}  // namespace

void add_entry(RedisCommand& command, const Envelope& envelope, WallTime since) {
  const auto add = [&](EnvelopeField field, std::string_view value) {
    command.add(name_of(field)).add(value);
  };
  const auto number = [&](EnvelopeField field, std::int64_t value) {
    command.add(name_of(field)).add(value);
  };
  if (too_deep(envelope.args) || too_deep(envelope.meta)) (void)to_wire(envelope);  // says so
  try {
    add(id, envelope.id);
    add(name, envelope.name);
    add(args, envelope.args.dump());
    add(headers, envelope.headers.empty() ? "{}" : Json(envelope.headers).dump());
    add(enqueued_at, format_time(envelope.enqueued_at));
    add(not_before, envelope.not_before ? format_time(*envelope.not_before) : "");
    number(priority, envelope.priority);
    number(attempt, envelope.attempt);
    number(max_retries, envelope.max_retries);
    if (envelope.visibility_timeout)
      number(visibility_timeout,
             duration_cast<std::chrono::milliseconds>(*envelope.visibility_timeout).count());
    else
      add(visibility_timeout, "");
    add(queue, envelope.queue);
    add(meta, envelope.meta.dump());
  } catch (const Json::exception&) {
    (void)to_wire(envelope);  // says which job
    throw;
  }
  command.add("since").add(since.time_since_epoch().count());
}

RedisEntry read_entry(const RedisValue& words) {
  std::array<std::string_view, names.size()> values{};
  const auto value_of = [&](EnvelopeField field) { return values[static_cast<std::size_t>(field)]; };
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    const auto key = words[i].text;
    if (i / 2 < names.size() && key == names[i / 2]) {
      values[i / 2] = words[i + 1].text;
      continue;
    }
    // What the delayed jobs held was no envelope. Who runs it says so.
    if (key == "wire") return {.id = std::string(value_of(id)), .wire = std::string(words[i + 1].text)};
    for (std::size_t field = 0; field < names.size(); ++field)
      if (key == names[field]) values[field] = words[i + 1].text;
  }
  RedisEntry entry{.id = std::string(value_of(id)), .wire = {}};
  std::from_chars(value_of(attempt).data(), value_of(attempt).data() + value_of(attempt).size(),
                  entry.attempt);
  std::size_t size = 256;
  for (const auto value : values) size += value.size();
  JsonText json(size);
  const auto raw = [&](EnvelopeField field, std::string_view fallback) {
    json.raw(name_of(field), value_of(field).empty() ? fallback : value_of(field));
  };
  const auto text_or_null = [&](EnvelopeField field) {
    value_of(field).empty() ? json.null(name_of(field)) : json.text(name_of(field), value_of(field));
  };
  json.text(name_of(id), value_of(id)).text(name_of(name), value_of(name));
  raw(args, "{}");
  raw(headers, "{}");
  text_or_null(enqueued_at);
  text_or_null(not_before);
  raw(priority, "0");
  raw(attempt, "0");
  raw(max_retries, "0");
  raw(visibility_timeout, "null");
  json.text(name_of(queue), value_of(queue));
  raw(meta, "{}");
  entry.wire = std::move(json).finish();
  return entry;
}

}  // namespace stem
