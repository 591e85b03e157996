#pragma once

#include <optional>
#include <stem/envelope.hpp>
#include <string>
#include <vector>

namespace stem {

/// How long the books of a canvas are kept after its last progress.
inline constexpr Duration canvas_ttl = std::chrono::days{7};
inline constexpr std::size_t longest_chain = 100;

/// What a job's envelope says of the others that it belongs to. All of it was signed with the job, so that no
/// one who can only write to the store adds members, or enqueues what its producer did not.
struct CanvasPart {
  std::string group{};     ///< the group it is a member of; empty = none
  std::int64_t index = 0;  ///< among the members, from 0
  std::int64_t size = 0;   ///< how many members there are
  bool chord = false;      ///< what it returns is kept for the group's callback
  /// When the last of the members and the callback may begin; the epoch = at once.
  WallTime until{};

  std::string callback_of{};  ///< the chord whose callback it is; `size` and `until` are those of the chord
  bool follows = false;       ///< it was enqueued after another job, whose record it can read

  std::vector<Envelope> then{}, on_failure{};  ///< to be enqueued as they are

  bool is_member() const { return !group.empty(); }
  bool is_callback() const { return !callback_of.empty(); }
  /// Whether there is anything to do when the job has ended.
  bool has_duties() const { return is_member() || is_callback() || !then.empty() || !on_failure.empty(); }
};

/// Adds it to the envelope's headers and meta. The chains, groups and chords of other implementations have
/// the same names.
void put_canvas_part(Envelope& envelope, const CanvasPart& part);
/// Empty for a job that belongs to no others. Throws Error (exit 65) if it cannot be read.
std::optional<CanvasPart> canvas_part(const Envelope& envelope);

}  // namespace stem
