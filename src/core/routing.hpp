#pragma once

#include <map>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// Priorities that a queue takes: what is asked for beyond them is brought inside.
struct PriorityRange {
  int lowest = 0;
  int highest = 9;

  friend bool operator==(const PriorityRange&, const PriorityRange&) = default;
};

/// One rule: jobs that fit all of what it says go to its target.
struct Route {
  std::vector<std::string> tasks;              ///< globs, one of which must fit; none = any task
  std::map<std::string, std::string> headers;  ///< each must be there with that value
  std::string queue;                           ///< the one that the producer asked for; empty = any, or none
  bool to_everyone = false;                    ///< the target is a broadcast channel, not a queue
  std::string target;
  std::optional<int> priority;  ///< in place of the producer's

  friend bool operator==(const Route&, const Route&) = default;
};

/// Where jobs go: what a routing file says (docs/routing.md), or one default queue for whatever names none. A
/// value; to read it is routing_of() of worker/routing_file.hpp.
struct Routing {
  std::string default_queue = "default";
  std::string default_alias = "default";  ///< another name of the default queue; `default` is one in any case
  std::map<std::string, PriorityRange> queues;  ///< those that the file names; any other takes every priority
  std::map<std::string, Duration>
      broadcasts;             ///< channels, and how long a message waits for a worker that is away
  std::vector<Route> routes;  ///< the first that fits is taken

  struct Destination {
    bool to_everyone = false;
    std::string name;  ///< of the queue, or of the channel
    int priority = 0;
    Duration ttl{};  ///< of a message on a channel
  };
  /// `queue` as the producer asked for it, or empty. Does not check names.
  Destination destination(std::string_view task, const std::map<std::string, std::string>& headers,
                          const std::string& queue, int priority) const;
  /// The queue of that name or alias.
  const std::string& queue_called(const std::string& name) const;

  friend bool operator==(const Routing&, const Routing&) = default;
};

}  // namespace stem
