#include "supervisor/refusal.hpp"

#include <unistd.h>

namespace stem {

bool is_permission_error(const std::string& name) {
  return name == "org.freedesktop.DBus.Error.AccessDenied" ||
         name == "org.freedesktop.DBus.Error.AuthFailed" ||
         name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" ||
         name == "org.freedesktop.DBus.Error.Spawn.PermissionsInvalid";
}

Error not_permitted(Verb verb, const std::string& what) {
  const auto who = geteuid() == 0 ? std::string("root") : "user " + std::to_string(geteuid());
  const bool links = verb == Verb::enable || verb == Verb::disable;
  // Whoever may link unit files may link any, so Stem's rule leaves that to root.
  return Error(
      Exit::no_permission,
      who + " may not " + word_of(verb) + " " + what + "; use sudo" +
          (links ? " (no polkit rule can allow it for these units alone)"
                 : ", join the group stem (Stem's polkit rule lets it manage the nodes, where polkit is "
                   "installed)") +
          ", or run the nodes under your own service manager with --user");
}

Error explain_refusal(Verb verb, const std::string& unit, const Manager& manager, const std::string& name,
                      const std::string& text) {
  if (is_permission_error(name)) return not_permitted(verb, unit);
  const auto systemctl = manager.command("systemctl");
  if (name == "org.freedesktop.systemd1.NoSuchUnit" || name == "org.freedesktop.DBus.Error.FileNotFound")
    return Error(
        Exit::config,
        "stem-worker@.service is not installed for this service manager; install Stem's units and say `" +
            systemctl + "daemon-reload`");
  if (name == "org.freedesktop.systemd1.UnitMasked")
    return Error(Exit::config, unit + " is masked; `" + systemctl + "unmask " + unit + "` allows it");
  if (name == "org.freedesktop.systemd1.BadUnitSetting" || name == "org.freedesktop.systemd1.LoadFailed")
    return Error(Exit::config, text + " See `" + systemctl + "cat " + unit + "`.");
  if (name == "org.freedesktop.systemd1.JobTypeNotApplicable")
    return Error(Exit::config, "its unit has no way to reload; `" + systemctl + "cat " + unit +
                                   "` shows it: stem-worker@.service has ExecReload= or Type=notify-reload");
  return Error(Exit::unhealthy, text + " (" + name + ")");
}

}  // namespace stem
