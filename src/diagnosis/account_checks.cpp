// Whom the worker runs as, and who asks.

#include <grp.h>
#include <unistd.h>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"

namespace stem {
namespace {

constexpr auto section = "USER AND GROUP";

Finding user(const Subject& s) {
  if (!Account::named(s.user))
    return Finding::error("there is no user " + s.user + " on this machine",
                          "`systemd-sysusers` makes it, or: useradd --system --home-dir /var/lib/stem "
                          "--shell /usr/sbin/nologin " +
                              s.user);
  if (s.account && s.account->user == 0)
    return Finding::warning(
        "the worker runs as root: a mistake in a task is a mistake of root's",
        s.unit ? "User=stem in the unit; remove the drop-in that changes it" : "STEMD_USER=stem");
  return Finding::ok(s.user);
}

Finding group(const Subject& s) {
  if (s.account) return Finding::ok(group_name(s.account->group));
  if (!Account::named(s.user)) return Finding::skip("there is no such user");
  return Finding::error("there is no group " + s.group + " on this machine",
                        "`systemd-sysusers` makes it, or: groupadd --system " + s.group);
}

Finding caller(const Subject& s) {
  if (!s.account || s.account->can_be_tried())
    return Finding::ok(user_name(geteuid()) + " can look at everything");
  return Finding::warning(
      "run by " + user_name(geteuid()) + ", who cannot find out what " + s.account->name + " may do",
      "run it with sudo: some checks were left out");
}

constexpr Check checks[] = {{"user", section, user}, {"group", section, group}, {"caller", section, caller}};

}  // namespace

std::span<const Check> account_checks() {
  return checks;
}

}  // namespace stem
