#pragma once

#include <sys/types.h>
#include <functional>
#include <optional>
#include <stem/error.hpp>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// A user of this machine with the groups that a service of theirs gets.
struct Account {
  uid_t user = 0;
  gid_t group = 0;
  std::string name, home;

  static Account self();
  /// By name or number; `group` empty = the user's own. Nothing if there is no such user or group.
  static std::optional<Account> named(const std::string& user, const std::string& group = {});

  bool is_self() const;
  /// Whether this process can find out what that account may do: it is that account, or root.
  bool can_be_tried() const;
};

/// The name of a user, or the number if there is none.
std::string user_name(uid_t user);
std::string group_name(gid_t group);

/// What came of something that was tried in a process of its own.
struct Trial {
  enum class Kind { returned, failed, died, late, impossible };
  Kind kind = Kind::impossible;
  std::string text;      ///< returned: what the work returned; failed: the message of its Error
  Exit code = Exit::ok;  ///< failed: of its Error
  int signal = 0;        ///< died
};

/// Runs `work` in a child process that has become `account`, which ends it after `limit`: the only way to
/// know what that user may do is to be that user, and what crashes or hangs takes only the child along.
/// impossible: we are neither that user nor root, or there is no process left. Not beside other threads.
Trial try_as(const Account& account, Duration limit, const std::function<std::string()>& work);

/// access(2) as that account: 0 or an errno; nothing if it cannot be tried.
std::optional<int> access_as(const Account& account, const std::string& path, int mode);

}  // namespace stem
