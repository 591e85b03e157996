#include "worker/canvas_state.hpp"

#include <algorithm>
#include <stem/error.hpp>

#include "core/canvas_part.hpp"

namespace stem {
namespace {

constexpr char digits[] = "0123456789abcdef";

/// Four bits a digit, the lowest first; trailing zeros are left out.
template <class Bits>
std::string hex_of(const Bits& bits, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; i += 4) {
    unsigned value = 0;
    for (std::size_t j = i; j < std::min(i + 4, count); ++j)
      value |= static_cast<unsigned>(bits[j]) << (j - i);
    text += digits[value];
  }
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

template <class Bits>
void read_hex(const std::string& text, Bits& bits, std::size_t count) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto* const digit = std::find(digits, digits + 16, text[i]);
    if (digit == digits + 16) throw Error(Exit::data, "malformed books of a canvas: no hexadecimal digits");
    const auto value = static_cast<unsigned>(digit - digits);
    for (std::size_t j = 0; j < 4; ++j)
      if ((value >> j & 1U) != 0 && i * 4 + j < count) bits[i * 4 + j] = true;
  }
}

template <class Read>
auto reading(const std::string& wire, Read read) {
  try {
    return read(Json::parse(wire));
  } catch (const Json::exception& error) {
    throw Error(Exit::data, std::string("malformed books of a canvas: ") + error.what());
  }
}

/// Numbers of this width sort as text does.
std::string padded(std::int64_t number) {
  const auto text = std::to_string(number);
  return std::string(8 - std::min<std::size_t>(8, text.size()), '0') + text;
}

std::size_t chunks_of(std::int64_t members) {
  return static_cast<std::size_t>((members + CanvasChunk::size - 1) / CanvasChunk::size);
}

}  // namespace

bool CanvasChunk::complete(std::int64_t number, std::int64_t members) const {
  return static_cast<std::int64_t>(ended.count()) >= std::min(size, members - number * size);
}

std::string to_wire(const CanvasChunk& chunk) {
  return Json{{"ended", hex_of(chunk.ended, CanvasChunk::size)},
              {"failed", hex_of(chunk.failed, CanvasChunk::size)},
              {"failure", chunk.failure},
              {"kept", chunk.kept.time_since_epoch().count()}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

CanvasChunk canvas_chunk_from_wire(const std::string& wire) {
  return reading(wire, [](const Json& json) {
    CanvasChunk chunk;
    read_hex(json.at("ended").get<std::string>(), chunk.ended, CanvasChunk::size);
    read_hex(json.at("failed").get<std::string>(), chunk.failed, CanvasChunk::size);
    chunk.failure = json.at("failure").get<std::string>();
    chunk.kept = WallTime(Duration(json.value("kept", std::int64_t{0})));
    return chunk;
  });
}

CanvasRoot CanvasRoot::of(std::int64_t members) {
  CanvasRoot root;
  root.members = members;
  root.complete.resize(chunks_of(members));
  return root;
}

bool CanvasRoot::is_complete() const {
  return std::all_of(complete.begin(), complete.end(), [](bool chunk) { return chunk; });
}

std::string to_wire(const CanvasRoot& root) {
  return Json{{"v", 1},
              {"members", root.members},
              {"complete", hex_of(root.complete, root.complete.size())},
              {"failed", root.failed},
              {"failure", root.failure},
              {"callback", root.callback},
              {"finished", root.finished}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

CanvasRoot canvas_root_from_wire(const std::string& wire) {
  return reading(wire, [](const Json& json) {
    auto root =
        CanvasRoot::of(std::clamp<std::int64_t>(json.at("members").get<std::int64_t>(), 1, 10'000'000));
    read_hex(json.at("complete").get<std::string>(), root.complete, root.complete.size());
    root.failed = json.at("failed").get<std::int64_t>();
    root.failure = json.at("failure").get<std::string>();
    root.callback = json.at("callback").get<std::string>();
    root.finished = json.at("finished").get<bool>();
    return root;
  });
}

Duration canvas_life(WallTime last, WallTime now) {
  return canvas_ttl + std::max(last - now, Duration{});
}

std::string canvas_root_key(const std::string& group) {
  return "canvas:" + group;
}
std::string canvas_chunk_key(const std::string& group) {
  return "canvas:" + group + ":chunk:";
}
std::string canvas_chunk_key(const std::string& group, std::int64_t number) {
  return canvas_chunk_key(group) + padded(number);
}
std::string canvas_member_key(const std::string& group) {
  return "canvas:" + group + ":member:";
}
std::string canvas_member_key(const std::string& group, std::int64_t index) {
  return canvas_member_key(group) + padded(index);
}
std::string canvas_input_key(const std::string& job) {
  return "canvas-input:" + job;
}

std::string canvas_mark(bool enqueued, const Envelope& job, const std::string& record) {
  return (enqueued ? "1" : "0") + std::to_string(job.enqueued_at.time_since_epoch().count()) + record;
}

bool is_mark_of(const std::string& mark, const Envelope& job) {
  return mark.substr(std::min<std::size_t>(1, mark.size()), mark.find('{') - 1) ==
         std::to_string(job.enqueued_at.time_since_epoch().count());
}

std::string marked_record(const std::string& mark) {
  return mark.substr(std::min(mark.find('{'), mark.size()));
}

Result group_result(const std::string& group, std::int64_t members, std::int64_t ended, std::int64_t failed) {
  Result result;
  result.id = group;
  if (ended >= members)
    result.state = failed == 0 ? TaskState::succeeded : TaskState::failed;
  else
    result.state = ended > 0 ? TaskState::running : TaskState::queued;
  result.value = {{"total", members}, {"succeeded", ended - failed}, {"failed", failed}};
  result.meta = {{"group", members}};
  return result;
}

}  // namespace stem
