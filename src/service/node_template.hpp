#pragma once

#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// What the `%` marks in --pidfile, --logfile and --workdir stand for, in one process of one start of a node.
struct NodeTemplate {
  std::string node;    ///< %n
  std::string host;    ///< %h; host_name() unless a test says otherwise
  WallTime started{};  ///< %d, UTC: 20250102T030405Z
  int process = 0;     ///< %I: empty for 0, the main process; `-1`, `-2` … for its children

  /// The marks of this machine and this instant.
  static NodeTemplate now(const std::string& node);

  /// `text` with %n %h %d %I replaced and %% as %. Throws Error (exit 78) for any other mark, with `text`.
  std::string expand(std::string_view text) const;
};

/// The name of this machine; `localhost` if it has none.
std::string host_name();

}  // namespace stem
