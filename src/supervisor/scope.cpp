#include "supervisor/scope.hpp"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "core/name.hpp"

namespace stem {
namespace {

constexpr std::string_view prefix = "stem-worker@";
constexpr std::string_view suffix = ".service";

}  // namespace

std::string Manager::command(const std::string& program) const {
  const auto line = program + (scope == Scope::user ? " --user " : " ");
  // ssh has no HOST:PORT.
  const auto port = host.rfind(':');
  return host.empty() ? line
         : port == std::string::npos
             ? "ssh " + host + " " + line
             : "ssh -p " + host.substr(port + 1) + " " + host.substr(0, port) + " " + line;
}

std::string user_runtime_dir() {
  const char* directory = secure_getenv("XDG_RUNTIME_DIR");
  return directory && *directory == '/' ? directory : "/run/user/" + std::to_string(getuid());
}

std::string user_config_dir() {
  const char* directory = secure_getenv("XDG_CONFIG_HOME");
  if (directory && *directory == '/') return directory;
  const char* home = secure_getenv("HOME");
  if (home && *home == '/') return std::string(home) + "/.config";
  const auto* entry = getpwuid(getuid());
  return std::string(entry && entry->pw_dir ? entry->pw_dir : "/") + "/.config";
}

std::string private_socket(Scope scope) {
  return scope == Scope::system ? "/run/systemd/private" : user_runtime_dir() + "/systemd/private";
}

std::string unit_of(const std::string& node) {
  return std::string(prefix) + node + std::string(suffix);
}

std::string node_of(const std::string& unit) {
  if (!unit.starts_with(prefix) || !unit.ends_with(suffix) || unit.size() <= prefix.size() + suffix.size())
    return {};
  auto node = unit.substr(prefix.size(), unit.size() - prefix.size() - suffix.size());
  return is_name(node) ? node : std::string{};
}

}  // namespace stem
