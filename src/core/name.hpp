#pragma once

#include <string>
#include <string_view>

namespace stem {

/// Names of nodes, queues and tasks: [A-Za-z0-9][A-Za-z0-9_.:-]*, at most 128 characters. They become parts
/// of unit names, paths and keys, so `/`, `%`, blanks and control characters never get past this check, nor
/// does `..`.
bool is_name(std::string_view text);

/// Throws Error (exit 64) with `kind` ("node", "queue", "task"), the name (made printable) and the rule.
void require_name(std::string_view kind, std::string_view text);

/// require_name() of a worker's node, which is not called `scheduler`: its unit, pidfile and control socket
/// would be those of the scheduler.
void require_node_name(std::string_view text);

/// The text with everything but printable ASCII as \xNN, at most 80 characters: safe to print.
std::string printable(std::string_view text);

}  // namespace stem
