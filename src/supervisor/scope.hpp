#pragma once

#include <string>

namespace stem {

/// Whose service manager: the machine's, or this person's.
enum class Scope { system, user };

/// One service manager: of this machine, or the system's of another, which ssh reaches.
struct Manager {
  Scope scope = Scope::system;
  std::string host;  ///< as `systemctl -H`; empty = this machine

  explicit Manager(Scope scope, std::string host = {}) : scope(scope), host(std::move(host)) {}
  /// `systemctl --user `, `journalctl `, `ssh web1 journalctl `: what a person types to ask it.
  std::string command(const std::string& program) const;
};

/// The socket at which a manager answers those who may do anything with it, without a bus between:
/// /run/systemd/private, or $XDG_RUNTIME_DIR/systemd/private.
std::string private_socket(Scope scope);

/// $XDG_RUNTIME_DIR, or /run/user/UID.
std::string user_runtime_dir();

/// $XDG_CONFIG_HOME, or ~/.config.
std::string user_config_dir();

/// The unit of a node, `stem-worker@NODE.service`, and back; empty for a unit of another kind.
std::string unit_of(const std::string& node);
std::string node_of(const std::string& unit);

}  // namespace stem
