#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"

namespace stem {

/// How systemd would run a unit and how it fares: what the unit file, its drop-ins and the manager's defaults
/// come to. Paths have no specifiers left. What a manager does not know keeps its first value.
struct UnitSheet {
  UnitFacts facts;         ///< all parts
  std::string load_error;  ///< why the file cannot be used; empty if it can

  std::string fragment;    ///< the unit file
  std::string source;      ///< what it was generated from: an init script
  std::string file_state;  ///< enabled, disabled, static, masked, generated…
  std::vector<std::string> drop_ins;
  bool needs_reload = false;   ///< files have changed since systemd read them
  bool conditions_met = true;  ///< at the last start

  std::string type, notify_access, restart, kill_mode;
  std::string user, group;  ///< empty = the manager's own
  std::string working_directory, pidfile, standard_output;
  std::vector<std::string> runtime_directories, state_directories,
      logs_directories;  ///< relative, as written
  std::string runtime_directory_preserve;
  std::string protect_home, protect_system;
  bool private_tmp = false;
  std::vector<std::string> writable_paths;

  struct EnvFile {
    std::string path;
    bool may_be_missing = false;
  };
  std::vector<std::string>
      environment;  ///< KEY=value of Environment=, which every user of the machine may read
  std::vector<EnvFile> env_files;
  struct Credential {
    std::string id;
    std::string path;  ///< absolute, or a name to be looked for in the credential stores
    bool encrypted = false;
  };
  std::vector<Credential> credentials;
  std::vector<std::string> exec_start;  ///< program and arguments of the first command

  std::uint64_t open_files = 0;  ///< LimitNOFILE=; 0 = not known
  Duration restart_delay{};
  Duration start_limit_interval{};
  std::uint32_t start_limit_burst = 0;
  std::vector<int> restart_prevented_by;  ///< exit statuses

  bool found() const { return facts.load_state == "loaded"; }
};

/// Has the manager load the unit, if it is not, and asks for all of it: two round trips. Throws Error 69 if
/// the manager does not answer.
UnitSheet read_unit_sheet(Scope scope, const std::string& unit);

}  // namespace stem
