#pragma once

#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// A job that is not to be run any more.
struct Revocation {
  std::string job{};
  bool terminate = false;  ///< a handler that runs it is asked to stop
  std::string reason{};
  std::string requester{};
  WallTime issued{};
  std::optional<WallTime> expires{};  ///< then the job may run again; empty = never

  bool holds(WallTime now) const { return !expires || now < *expires; }

  friend bool operator==(const Revocation&, const Revocation&) = default;
};

Json to_json(const Revocation& revocation, const std::string& name_space);
/// Throws Error (exit 65).
Revocation revocation_from(const Json& json);

/// A queue from which nothing is taken until it is resumed.
struct PausedQueue {
  std::string queue{};
  std::string node{};  ///< only for this node; empty = for all
  std::string reason{};
  std::string requester{};
  WallTime since{};

  friend bool operator==(const PausedQueue&, const PausedQueue&) = default;
};

Json to_json(const PausedQueue& paused, const std::string& name_space);
/// Throws Error (exit 65).
PausedQueue paused_queue_from(const Json& json);

}  // namespace stem
