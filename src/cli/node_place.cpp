#include "cli/node_place.hpp"

#include <filesystem>

namespace stem::cli {

void NodePlace::add_options(CLI::App& app, const std::string& whose, const std::string& what) {
  app.add_option("--pidfile", pidfile, whose + " pidfile, if it is not where it is expected")
      ->type_name("FILE");
  app.add_option("--runtime-dir", runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  auto* users = app.add_flag("--user", user, what + " of this user's own service manager");
  app.add_flag("--system", system, what + " of the system's service manager")->excludes(users);
}

void NodePlace::add_supervisor(CLI::App& app) {
  app.add_option("--supervisor", supervisor, "systemd, start-stop-daemon or auto (STEM_SUPERVISOR)")
      ->type_name("NAME");
}

void NodePlace::choose_reach(SupervisorSettings& settings) const {
  if (user) settings.reach = SupervisorSettings::Reach::user;
  if (system) settings.reach = SupervisorSettings::Reach::system;
}

std::string absolute_path(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace stem::cli
