#include "supervisor/scope.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "core/name.hpp"

namespace stem {
namespace {

constexpr std::string_view prefix = "stem-worker@";
constexpr std::string_view suffix = ".service";

}  // namespace

std::string user_runtime_dir() {
  const char* directory = secure_getenv("XDG_RUNTIME_DIR");
  return directory && *directory == '/' ? directory : "/run/user/" + std::to_string(getuid());
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
