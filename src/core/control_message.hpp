#pragma once

#include <stem/envelope.hpp>
#include <string>
#include <vector>

namespace stem {

/// What a worker is told or asked, and what it answers: docs/control-plane.md. Messages travel as envelopes,
/// so that they are signed as jobs are, and each names its channel as its queue, so that one that is copied
/// to another channel, or into a queue of jobs, is not believed there.

/// The channel on which all workers of a namespace listen, that of one node, and that of the answers to one
/// request.
std::string control_channel(const std::string& name_space);
std::string control_channel(const std::string& name_space, const std::string& node);
std::string control_reply_channel(const std::string& name_space, const std::string& request);

struct ControlRequest {
  std::string id{};  ///< a name; also of the channel for answers
  std::string
      type{};  ///< ping, stats, inspect, revoke, queue_pause, queue_resume, queue_status, shutdown, watch
  std::vector<std::string> targets;  ///< nodes; empty = all
  Json payload = Json::object();
  WallTime issued{};
  WallTime expires{};  ///< from then on nobody obeys

  bool is_for(const std::string& node) const;
};
Envelope to_envelope(const ControlRequest& request, const std::string& channel);
/// Throws Error (exit 65): what is wrong with it.
ControlRequest control_request_from(const Envelope& envelope);

struct ControlReply {
  std::string request{};
  std::string node{};
  std::string host{};
  Json payload = Json::object();
  std::string error{};  ///< empty = it was done
};
Envelope to_envelope(const ControlReply& reply, const std::string& channel, WallTime now);
/// Throws Error (exit 65).
ControlReply control_reply_from(const Envelope& envelope);

/// Nothing that is said to workers or by them is longer.
inline constexpr std::size_t longest_control_message = 1 << 20;
/// Nothing is obeyed that claims to hold for longer: who remembers what was done already must be able to
/// forget.
inline constexpr std::chrono::hours longest_control_life{1};

}  // namespace stem
