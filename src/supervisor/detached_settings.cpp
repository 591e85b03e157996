#include "supervisor/detached_settings.hpp"

#include <pwd.h>
#include <unistd.h>

#include <filesystem>
#include <stem/error.hpp>

namespace stem {
namespace {

std::string setting(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
}

/// As a log-in of `user` would have it, rather than that of root who starts the worker.
void move_home(Environment& environment, const std::string& user) {
  const auto* account = getpwnam(user.c_str());
  if (!account) return;  // owner() says so
  environment["HOME"] = account->pw_dir;
  environment["SHELL"] = account->pw_shell;
  environment["USER"] = environment["LOGNAME"] = account->pw_name;
  std::erase_if(environment, [](const auto& entry) { return entry.first.starts_with("XDG_"); });
}

}  // namespace

DetachedSettings DetachedSettings::usual(const std::string& runtime_dir, const Environment& environment) {
  DetachedSettings settings;
  settings.runtime_dir = runtime_dir;
  settings.environment = environment;
  if (geteuid() == 0) {
    settings.log_dir = "/var/log/stem";
    settings.user = setting(environment, "STEMD_USER");
    settings.group = setting(environment, "STEMD_GROUP");
    if (settings.user.empty() && getpwnam("stem")) settings.user = "stem";
    if (!settings.group.empty() && settings.user.empty())
      throw Error(Exit::config,
                  "STEMD_GROUP is set without STEMD_USER, and there is no user stem; set both, or neither");
    if (settings.user == "root" && settings.group.empty()) settings.user.clear();
    if (!settings.user.empty()) {
      move_home(settings.environment, settings.user);
      settings.state_dir = settings.environment.try_emplace("STATE_DIRECTORY", "/var/lib/stem").first->second;
      if (settings.environment["HOME"] == settings.state_dir)
        settings.environment["HOME"] = settings.home_dir = "/var/cache/stem";
    }
  } else {
    const auto state = setting(environment, "XDG_STATE_HOME"), home = setting(environment, "HOME");
    settings.log_dir = (state.starts_with('/')  ? state
                        : home.starts_with('/') ? home + "/.local/state"
                                                : runtime_dir) +
                       "/stem/log";
  }
  std::error_code error;
  settings.program = std::filesystem::read_symlink("/proc/self/exe", error);
  settings.backgrounder = Backgrounder::find();
  return settings;
}

Owner DetachedSettings::owner() const {
  return user.empty() ? Owner::self() : Owner::named(user, group);
}

}  // namespace stem
