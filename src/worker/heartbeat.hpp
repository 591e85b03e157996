#pragma once

#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "storage/store.hpp"

namespace stem {

/// What a worker tells of itself every few seconds, in a record that ends three periods later: who reads it
/// knows which workers live. A worker that ends in peace takes its record along.
struct Heartbeat {
  std::string node;
  std::string host;
  std::string name_space = "stem";
  WallTime at{};
  Duration interval = std::chrono::seconds{10};
  Json facts = Json::object();  ///< pid, startedAt, concurrency, inflight, queues …: docs/control-plane.md

  /// Whether it is late: more than two and a half periods old.
  bool stale(WallTime now) const { return now - at > interval * 5 / 2; }
};

/// This machine's name.
std::string this_host();

StoreWrite heartbeat_record(const Heartbeat& heartbeat);
std::string heartbeat_key(const Heartbeat& heartbeat);
/// Those that have not ended, by node and host. What is no heartbeat is left out.
std::vector<Heartbeat> read_heartbeats(Store& store, const std::string& name_space);
Json to_json(const Heartbeat& heartbeat);

}  // namespace stem
