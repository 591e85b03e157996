#pragma once

#include <functional>
#include <stem/json.hpp>
#include <string>

#include "cli/command.hpp"

namespace stem::cli {

/// Whether a command looks once, or goes on.
struct FollowOptions {
  bool follow = false;
  Duration interval{};  ///< 0 = not said
};

/// --follow and --interval, which includes it.
void add_follow(CLI::App& app, FollowOptions& options);

/// What one look has found.
struct Look {
  std::string text;  ///< for people, or one JSON value
  int status = 0;
};

/// Prints what `look` finds; with --follow again and again, each with the time above it, or as a line of
/// JSON. The status is that of the last look. A broker that is lost between two looks is told on stderr once,
/// and waited for; where nobody reads any more, it ends. Throws what the first look throws; Error 64 for a
/// bad interval.
int show_looks(const FollowOptions& options, const Common& common, const std::function<Look()>& look);

/// Of a value, as --json wants it: in several lines, or in one.
std::string json_text(const Json& value, const FollowOptions& options);

}  // namespace stem::cli
