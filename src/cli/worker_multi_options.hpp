#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.hpp"
#include "supervisor/supervisor.hpp"

namespace stem::cli {

/// `-c:web-* 8`: an option for the nodes that a pattern names.
struct OptionOfNodes {
  std::string option;   ///< c, concurrency, queue…
  std::string pattern;  ///< patterns of glob(7), separated by commas
  std::string value;
};

/// The command line of `stem worker multi`.
struct MultiOptions {
  std::string action;
  std::vector<std::string> nodes;
  NodeOptions run;
  std::vector<std::string> run_of_nodes;  ///< `c:web-*=8`, as prepare_worker_multi() has it
  bool all = false, reset = false, no_block = false, rolling = false, user = false, system = false,
       detach = false;
  bool follow = false;
  std::string lines, supervisor, host, runtime_dir;
  Duration timeout{-1};
};

/// Fills the parser.
void add_multi_options(CLI::App& app, MultiOptions& options);

/// Throws Error 64 for what the action does not take.
void check_multi_options(const MultiOptions& options);

/// The nodes that are named, or else those of the environment; each once, in order. None for --all and for a
/// status of all. Throws Error 64 for a name that is none, or if one is needed.
std::vector<std::string> named_nodes(const MultiOptions& options, const Environment& environment);

/// How each node is to run: what is said for all, and over it what is said for nodes of its name; of several
/// patterns that fit, the later one on the command line wins. Throws Error: 64 an option that cannot be, a
/// pattern that fits no node; 66 and 78 an environment file.
std::vector<NodeRequest> requests_of(const MultiOptions& options, const std::vector<std::string>& nodes,
                                     const Common& common, const Environment& environment);

/// --follow and --lines. Throws Error 64.
LogQuery log_query(const MultiOptions& options);

}  // namespace stem::cli
