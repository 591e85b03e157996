#pragma once

#include <stem/json.hpp>
#include <string>
#include <vector>

#include "supervisor/supervisor.hpp"

namespace stem::cli {

/// `2d 3h`, `2h 5m`, `5m 3s`, `12s`, `0.3s`: as exact as a person wants to know.
std::string human_duration(Duration length);
/// `12.3M`, in units of 1024.
std::string human_bytes(std::uint64_t bytes);

/// One row a node, for people.
std::string status_table(const std::vector<NodeState>& nodes);
/// `web-1  running, pid 123 (0.3s)`: one line without its end.
std::string outcome_line(const NodeOutcome& outcome, Verb verb);

/// Elements of `multi status --json` and of the actions' --json.
Json to_json(const NodeState& state);
Json to_json(const NodeOutcome& outcome, Verb verb);

/// A program's own words on one line, without what would disturb the terminal.
std::string plain(const std::string& text);

}  // namespace stem::cli
