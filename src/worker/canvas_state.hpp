#pragma once

#include <bitset>
#include <cstdint>
#include <stem/envelope.hpp>
#include <stem/result.hpp>
#include <string>
#include <vector>

namespace stem {

// What a store remembers of canvases: docs/canvas.md, "In the store". A member that ends changes its chunk
// only, and a chunk that is complete changes the root: so a member costs the same however many there are.

/// Which of some members have ended.
struct CanvasChunk {
  static constexpr std::int64_t size = 256;

  std::bitset<size> ended{};
  std::bitset<size> failed{};
  std::string failure{};  ///< of the first of them: `ID: reason`
  WallTime kept{};        ///< all books of the canvas are known to be kept until then

  /// Whether all of its members have ended, in a group of `members`.
  bool complete(std::int64_t number, std::int64_t members) const;
};
std::string to_wire(const CanvasChunk& chunk);
/// Throws Error (exit 65).
CanvasChunk canvas_chunk_from_wire(const std::string& wire);

/// Which chunks of a group are complete, and what is to be done when all are.
struct CanvasRoot {
  std::int64_t members = 0;
  std::vector<bool> complete{};  ///< by chunk
  std::int64_t failed = 0;       ///< members of complete chunks
  std::string failure{};         ///< of the first of them
  std::string callback{};        ///< the envelope of a chord's; empty = none
  bool finished = false;         ///< all of it is done

  static CanvasRoot of(std::int64_t members);
  bool is_complete() const;
};
std::string to_wire(const CanvasRoot& root);
/// Throws Error (exit 65).
CanvasRoot canvas_root_from_wire(const std::string& wire);

/// How long what belongs to a canvas is kept whose last job may begin at `last`.
Duration canvas_life(WallTime last, WallTime now);

std::string canvas_root_key(const std::string& group);
/// Without a number: what the keys of all chunks begin with.
std::string canvas_chunk_key(const std::string& group);
std::string canvas_chunk_key(const std::string& group, std::int64_t number);
/// The record that a chord's member left, for the callback; sorted by index.
std::string canvas_member_key(const std::string& group);
std::string canvas_member_key(const std::string& group, std::int64_t index);
/// Where it is marked that a job has been enqueued by another's end, or is being so.
std::string canvas_input_key(const std::string& job);
/// Such a mark: `1`, or `0` while it is being enqueued; when the job was made, in microseconds, for a later
/// one may have its id; and the record of that end.
std::string canvas_mark(bool enqueued, const Envelope& job, const std::string& record);
/// Whether it speaks of this very job.
bool is_mark_of(const std::string& mark, const Envelope& job);
std::string marked_record(const std::string& mark);

/// The record of a group: `failed` of `members` have not succeeded, and `ended` have ended.
Result group_result(const std::string& group, std::int64_t members, std::int64_t ended, std::int64_t failed);

}  // namespace stem
