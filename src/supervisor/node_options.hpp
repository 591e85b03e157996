#pragma once

#include <stem/json.hpp>
#include <string>
#include <vector>

namespace stem {

/// What a node is asked to do, beside its name. Empty or 0 = not said. A supervisor remembers it for each
/// node.
struct NodeOptions {
  std::string command;            ///< a foreign program to look after
  std::vector<std::string> apps;  ///< task modules
  std::vector<std::string> queues;
  std::vector<std::string> broadcasts;  ///< channels
  int concurrency = 0;
  std::string pool;  ///< threads or processes
  int max_tasks_per_child = 0;
  std::string max_memory_per_child;
  std::string env_file;        ///< absolute
  std::string pidfile;         ///< template; absolute
  std::string logfile;         ///< template; absolute
  std::string workdir;         ///< template; absolute
  std::string metrics_listen;  ///< where it serves metrics; a Unix socket's path is a template
  bool private_dirs = false;
  std::vector<std::string>
      properties;  ///< `KEY=VALUE` of its unit: check_unit_property(). Empty value: forget it

  bool empty() const { return *this == NodeOptions{}; }
  friend bool operator==(const NodeOptions&, const NodeOptions&) = default;
};

/// `older` with each option that `newer` says in its place.
NodeOptions merged(const NodeOptions& older, const NodeOptions& newer);

/// The arguments after `stem worker start --node N`, without env_file and pidfile, which each supervisor sets
/// in its own way, and properties, which are the supervisor's.
std::vector<std::string> worker_arguments(const NodeOptions& options);

/// As it is remembered: only what is said.
Json to_json(const NodeOptions& options);
/// Reads what to_json() wrote. Throws Error (exit 65) for anything else.
NodeOptions node_options_from_json(const Json& json);

/// Throws Error (exit 64) for what can be no argument or directive: a NUL byte, text that is not UTF-8, a bad
/// queue name, a relative path where an absolute one belongs, a property that is not for this.
void validate(const NodeOptions& options);

}  // namespace stem
