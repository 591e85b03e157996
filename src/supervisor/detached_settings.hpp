#pragma once

#include <stem/config.hpp>
#include <string>

#include "service/directories.hpp"
#include "supervisor/launch.hpp"

namespace stem {

/// What the supervisor without systemd needs to know.
struct DetachedSettings {
  std::string runtime_dir;  ///< of pidfiles, control sockets and records
  Environment environment;  ///< of the workers
  std::string log_dir;      ///< of log files without a path of their own
  std::string state_dir;    ///< of the embedded database, made with mode 2770 if it is missing; empty = not
                            ///< ours to make
  std::string
      home_dir;  ///< the workers' HOME, made with mode 0750 if it is missing; empty = not ours to make
  std::string user, group;  ///< whom workers run as; empty = as we are. Only root has a choice
  std::string program;      ///< the stem that runs the worker
  Backgrounder backgrounder;

  /// As is usual for this user: logs in /var/log/stem or $XDG_STATE_HOME/stem/log, this very program. What
  /// root starts runs as STEMD_USER and STEMD_GROUP say, else as the user stem if there is one: as root only
  /// where that is asked for (STEMD_USER=root), or nobody else is there. Workers of another user get that
  /// user's HOME, and the state directory of services, as systemd's User= and StateDirectory= have it; where
  /// both are one, which others may write to, HOME is /var/cache/stem, as the unit has it. Throws Error 78
  /// for a group without a user.
  static DetachedSettings usual(const std::string& runtime_dir, const Environment& environment);
  /// For whom directories and files are made. Throws Error 78 for an unknown name.
  Owner owner() const;
};

}  // namespace stem
