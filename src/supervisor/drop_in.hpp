#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/node_options.hpp"
#include "supervisor/scope.hpp"

namespace stem {

/// One word of an Exec line, quoted so that systemd hands on exactly `word`: C escapes, `%%`, `$$`
/// (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers").
std::string exec_word(std::string_view word);
/// The same for Environment= and lists of paths, where `$` means nothing.
std::string quoted_word(std::string_view word);
/// A path or another plain value with `%` doubled. Throws Error (exit 64) if it holds a control character,
/// for which such directives have no notation.
std::string unit_value(std::string_view value);

/// The directories where pidfile and log file of the options lie, as far as they are known before the start.
/// Throws Error (exit 78) for a bad mark in their templates.
std::vector<std::string> places_of(const std::string& node, const NodeOptions& options);

/// The directives that make an instance of stem-worker@.service run with `options`. `program` is the stem
/// that the unit runs; `lasts` is true for a file below /etc. Its first lines are comments, one of which
/// remembers the options.
std::string drop_in_text(const std::string& program, const std::string& node, const NodeOptions& options,
                         Scope scope, bool lasts = false);
/// The options that drop_in_text() remembered in `text`; nothing if it did not write it.
std::optional<NodeOptions> drop_in_options(std::string_view text);

/// The drop-ins of one manager, `DIRECTORY/stem-worker@NODE.service.d/50-stem-multi.conf`: below /run, or,
/// for a node that is enabled, below /etc, where they outlive a boot. A node has one of the two.
class DropIns {
 public:
  struct Places {
    std::filesystem::path runtime;  ///< /run/systemd/system, or $XDG_RUNTIME_DIR/systemd/user
    std::filesystem::path lasting;  ///< /etc/systemd/system, or $XDG_CONFIG_HOME/systemd/user
    static Places of(Scope scope);
  };
  DropIns(Places places, std::string program, Scope scope);

  /// What is remembered of `node`. Throws Error 77 if it may not be read.
  NodeOptions options(const std::string& node) const;
  /// Makes the drop-in say `options`, or takes it away if they are empty; below /etc if the node is enabled.
  /// True if anything changed, and the manager has to reload. Throws Error: 77 no permission, 73 cannot be
  /// written.
  bool set(const std::string& node, const NodeOptions& options) const {
    return set(node, options, enabled(node));
  }
  /// The same, in the place that the caller says.
  bool set(const std::string& node, const NodeOptions& options, bool lasting) const;
  /// True if the node is started at boot: something below /etc wants its unit.
  bool enabled(const std::string& node) const;
  /// The nodes that have a drop-in or are enabled, by name.
  std::vector<std::string> nodes() const;
  std::filesystem::path path(const std::string& node, bool lasting = false) const;

 private:
  Places places_;
  std::string program_;
  Scope scope_;
};

}  // namespace stem
