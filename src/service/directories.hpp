#pragma once

#include <sys/types.h>
#include <stem/config.hpp>
#include <string>

namespace stem {

/// For whom directories and files are made: the user that the worker runs as.
struct Owner {
  uid_t user;
  gid_t group;

  /// Whoever runs this process.
  static Owner self();
  /// A user by name, and a group by name or, if that is empty, the user's own. Throws Error 78 for an unknown
  /// name.
  static Owner named(const std::string& user, const std::string& group = {});
};

/// Makes `path` and its missing parents for `owner`, mode 0755, or 0750 with `is_private`, whatever the
/// umask. What exists is left as it is. Every step is taken with openat(2): a symbolic link is followed if
/// root placed it where only root can (/var/run), or if it leads to a directory of `owner`; any other is
/// refused. Throws Error: 73 cannot be made, 77 permission (also: it exists and `owner` may not write there);
/// with the path, the part that is in the way, and the command that helps. Touches the process's umask: not
/// beside other threads.
void make_directories(const std::string& path, const Owner& owner, bool is_private = false);
/// make_directories() of the directory that `file` is in.
void make_parent_directories(const std::string& file, const Owner& owner, bool is_private = false);

/// Where control sockets, and pidfiles without a path of their own, live. The first of: config.runtime_dir
/// (STEM_RUNTIME_DIR), $RUNTIME_DIRECTORY (its first), /run/stem for root, $XDG_RUNTIME_DIR/stem,
/// /tmp/stem-UID. It need not exist yet. Throws Error 77 if /tmp/stem-UID is there and not a directory of
/// ours alone.
std::string runtime_dir(const Config& config, const Environment& environment);

}  // namespace stem
