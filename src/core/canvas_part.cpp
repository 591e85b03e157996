#include "core/canvas_part.hpp"

#include <stem/error.hpp>

namespace stem {
namespace {

constexpr const char* group_key = "groupId";
constexpr const char* chord_key = "chordId";
constexpr const char* index_key = "stem.group.index";
constexpr const char* size_key = "stem.group.size";
constexpr const char* until_key = "stem.group.until";
constexpr const char* callback_key = "stem.chord.callback";
constexpr const char* then_key = "stem.link";
constexpr const char* failure_key = "stem.linkError";
constexpr const char* follows_key = "stem.linked";

[[noreturn]] void malformed(const char* key) {
  throw Error(Exit::data, std::string("malformed envelope: '") + key + "' cannot be read");
}

Json to_json(const std::vector<Envelope>& envelopes) {
  auto list = Json::array();
  for (const auto& one : envelopes) list.push_back(Json::parse(to_wire(one)));
  return list;
}

std::vector<Envelope> envelopes_in(const Envelope& envelope, const char* key) {
  std::vector<Envelope> envelopes;
  const auto found = envelope.meta.find(key);
  if (found == envelope.meta.end() || found->is_null()) return envelopes;
  if (!found->is_array()) malformed(key);
  for (auto one : *found) {
    // Other implementations give them an id when they are enqueued, and so more than one if that is done
    // again.
    if (one.is_object() && !one.contains("id"))
      one["id"] = envelope.id + "." + key + "-" + std::to_string(envelopes.size());
    envelopes.push_back(envelope_from_wire(one.dump(-1, ' ', false, Json::error_handler_t::replace)));
  }
  return envelopes;
}

std::string text_in(const Json& meta, const char* key) {
  const auto found = meta.find(key);
  if (found == meta.end() || found->is_null()) return {};
  if (!found->is_string()) malformed(key);
  return found->get<std::string>();
}

std::int64_t number_in(const Json& meta, const char* key, std::int64_t low) {
  const auto found = meta.find(key);
  if (found == meta.end() || !found->is_number_integer()) malformed(key);
  const auto number = found->get<std::int64_t>();
  if (number < low || number > 10'000'000) malformed(key);
  return number;
}

WallTime time_in(const Json& meta, const char* key) {
  const auto text = text_in(meta, key);
  if (text.empty()) return {};
  try {
    return parse_time(text);
  } catch (const Error&) {
    malformed(key);
  }
}

bool set_in(const Json& meta, const char* key) {
  const auto found = meta.find(key);
  return found != meta.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

void put_canvas_part(Envelope& envelope, const CanvasPart& part) {
  auto& meta = envelope.meta;
  if (part.is_member()) {
    meta[group_key] = part.group;
    meta[index_key] = part.index;
    meta[size_key] = part.size;
    envelope.headers["stem-group-id"] = part.group;
    if (part.chord) {
      meta[chord_key] = part.group;
      envelope.headers["stem-chord-id"] = part.group;
    }
  }
  if (part.is_callback()) {
    meta[chord_key] = part.callback_of;
    meta[callback_key] = true;
    meta[size_key] = part.size;
    envelope.headers["stem-chord-id"] = part.callback_of;
  }
  if (part.until > WallTime{}) meta[until_key] = format_time(part.until);
  if (part.follows) meta[follows_key] = true;
  if (!part.then.empty()) meta[then_key] = to_json(part.then);
  if (!part.on_failure.empty()) meta[failure_key] = to_json(part.on_failure);
}

std::optional<CanvasPart> canvas_part(const Envelope& envelope) {
  const auto& meta = envelope.meta;
  if (!meta.is_object() || meta.size() < 2) return std::nullopt;  // `stem.task` is always there
  CanvasPart part;
  const auto chord = text_in(meta, chord_key);
  if (set_in(meta, callback_key)) {
    if (chord.empty()) malformed(chord_key);
    part.callback_of = chord;
    part.size = number_in(meta, size_key, 1);
  } else if (meta.contains(index_key)) {
    // Members of other implementations have no number; their books are not ours.
    part.group = text_in(meta, group_key);
    if (part.group.empty()) malformed(group_key);
    part.chord = !chord.empty();
    part.size = number_in(meta, size_key, 1);
    part.index = number_in(meta, index_key, 0);
    if (part.index >= part.size) malformed(index_key);
  }
  part.until = time_in(meta, until_key);
  part.follows = set_in(meta, follows_key);
  part.then = envelopes_in(envelope, then_key);
  part.on_failure = envelopes_in(envelope, failure_key);
  if (!part.has_duties() && !part.follows) return std::nullopt;
  return part;
}

}  // namespace stem
