#include "storage/redis_dead.hpp"

#include <charconv>

#include "core/json_depth.hpp"
#include "core/json_text.hpp"

namespace stem {
namespace {

constexpr std::string_view start = R"({"envelope":)";

std::string text_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The envelope's text and, behind it, what is left of the object.
std::pair<std::string, std::string> split(std::string_view text) {
  const auto at = text.rfind(R"("bytes":)");
  std::size_t size = 0;
  if (at == std::string_view::npos || !text.starts_with(start)) return {{}, std::string(text)};
  std::from_chars(text.data() + at + 8, text.data() + text.size(), size);
  if (size == 0 || start.size() + size >= at || text[start.size() + size] != ',')
    return {{}, std::string(text)};
  return {std::string(text.substr(start.size(), size)),
          "{" + std::string(text.substr(start.size() + size + 1))};
}

}  // namespace

std::string dead_text(const DeadJob& job) {
  // What is no JSON must not spoil the object around it.
  const bool readable = !text_too_deep(job.wire) && Json::accept(job.wire);
  JsonText json(job.wire.size() + job.reason.size() + 128);
  readable ? json.raw("envelope", job.wire) : json.text("envelope", job.wire);
  json.text("reason", job.reason).value("meta", job.meta, true).text("deadAt", format_time(job.dead_at));
  json.number("attempt", job.attempt).text("id", job.id);
  return std::move(json.number("bytes", readable ? static_cast<std::int64_t>(job.wire.size()) : 0)).finish();
}

DeadJob dead_from(std::string_view text, const std::string& queue) {
  auto [wire, rest] = split(text);
  DeadJob job{.id = {},
              .queue = queue,
              .wire = std::move(wire),
              .attempt = 0,
              .reason = {},
              .meta = Json::object(),
              .dead_at = {}};
  const auto json = Json::parse(rest, nullptr, false);
  if (!json.is_object()) {
    job.wire = text;
    return job;
  }
  if (const auto envelope = json.find("envelope"); envelope != json.end()) {
    job.wire = envelope->is_string() ? envelope->get<std::string>() : envelope->dump();
    if (envelope->is_object()) {
      job.id = text_of(*envelope, "id");
      job.attempt = envelope->value("attempt", 0);
    }
  }
  if (const auto id = text_of(json, "id"); !id.empty()) job.id = id;
  job.reason = text_of(json, "reason");
  if (const auto meta = json.find("meta"); meta != json.end() && meta->is_object()) job.meta = *meta;
  if (const auto attempt = json.find("attempt"); attempt != json.end() && attempt->is_number_integer())
    job.attempt = attempt->get<int>();
  try {
    job.dead_at = parse_time(text_of(json, "deadAt"));
  } catch (const Error&) {
    // Somebody else's. It is shown as the oldest.
  }
  return job;
}

}  // namespace stem
