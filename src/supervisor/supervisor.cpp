#include "supervisor/supervisor.hpp"

#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>

#include "core/name.hpp"
#include "supervisor/supervisor_detached.hpp"
#include "supervisor/supervisor_systemd.hpp"

namespace stem {

std::string_view name_of(NodeState::State state) {
  switch (state) {
    case NodeState::State::running:
      return "running";
    case NodeState::State::starting:
      return "starting";
    case NodeState::State::reloading:
      return "reloading";
    case NodeState::State::stopping:
      return "stopping";
    case NodeState::State::failed:
      return "failed";
    case NodeState::State::stopped:
      return "stopped";
  }
  return "unknown";
}

namespace {

/// It becomes an argument of ssh.
void require_host(const std::string& host) {
  const bool plain =
      std::all_of(host.begin(), host.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!plain || host.front() == '-' || host.find('/') != std::string::npos)
    throw Error(Exit::usage, "--host '" + printable(host) + "' is no [USER@]HOST[:PORT]");
}

}  // namespace

SupervisorSettings::Kind SupervisorSettings::kind_of(const std::string& word) {
  if (word.empty() || word == "auto") return Kind::automatic;
  if (word == "systemd") return Kind::systemd;
  if (word == "start-stop-daemon") return Kind::detached;
  throw Error(Exit::usage,
              "supervisor '" + printable(word) + "' is not known; it is systemd, start-stop-daemon or auto");
}

std::unique_ptr<Supervisor> open_supervisor(const SupervisorSettings& settings) {
  using Kind = SupervisorSettings::Kind;
  using Reach = SupervisorSettings::Reach;
  if (!settings.host.empty()) {
    if (settings.kind == Kind::detached || settings.reach == Reach::user)
      throw Error(
          Exit::usage,
          "--host reaches the system's nodes of another machine, under systemd; log in there for others");
    require_host(settings.host);
    return std::make_unique<SupervisorSystemd>(Scope::system, settings.host);
  }
  const bool said = settings.reach != Reach::automatic;
  if (settings.kind == Kind::detached || (settings.kind == Kind::automatic && !said && sd_booted() <= 0))
    return std::make_unique<SupervisorDetached>(settings.runtime_dir, settings.environment);

  auto scope = settings.reach == Reach::user ? Scope::user : Scope::system;
  if (settings.reach == Reach::automatic && geteuid() != 0 && manager_runs(Scope::user)) scope = Scope::user;
  if (!manager_runs(scope))
    throw Error(Exit::unavailable,
                scope == Scope::system
                    ? "systemd does not run this machine; use --supervisor start-stop-daemon"
                    : "no service manager of this user runs; log in, say `loginctl enable-linger`, or use "
                      "--supervisor start-stop-daemon");
  return std::make_unique<SupervisorSystemd>(scope);
}

}  // namespace stem
