#include "supervisor/detached_settings.hpp"

#include <unistd.h>

#include <filesystem>
#include <stem/error.hpp>

namespace stem {
namespace {

std::string setting(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
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
    if (!settings.group.empty() && settings.user.empty())
      throw Error(Exit::config, "STEMD_GROUP is set without STEMD_USER; set both, or neither");
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
