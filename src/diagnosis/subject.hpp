#pragma once

#include <optional>
#include <stem/config.hpp>
#include <string>
#include <vector>

#include "diagnosis/account.hpp"
#include "supervisor/health.hpp"
#include "supervisor/node_record.hpp"
#include "supervisor/unit_sheet.hpp"

namespace stem {

struct DiagnosisQuery {
  std::string node;
  std::string pidfile, logfile, env_file;  ///< empty = as the node is set up
  SupervisorSettings supervisor;  ///< its environment is that of this process, with --env-file over it
  std::string root;               ///< before /etc, /var…; tests move it
};

/// An environment file that the node reads.
struct EnvSource {
  std::string path;
  bool may_be_missing = false;
};

/// What is known of a node before anything is judged: how it is set up, by unit, record and variables, and
/// how it fares. Checks read it and add what they look up themselves.
struct Subject {
  std::string node;
  std::string root;

  std::optional<Scope> scope;  ///< whose systemd runs it; nothing = none does
  bool systemd_booted = false;
  std::string manager_error;      ///< why systemd could not be asked
  std::optional<UnitSheet> unit;  ///< set if systemd could be asked
  std::optional<UnitSheet> twin;  ///< of stem-worker.service, which only an init script makes
  std::optional<bool> lingers;    ///< of the user whose manager it is

  std::optional<NodeRecord> record;  ///< of the fallback

  /// Whom the worker runs as; without a value there is no such account, and these are the names.
  std::optional<Account> account;
  std::string user, group;

  std::vector<EnvSource> env_files;
  Environment environment;                    ///< as the worker gets it, credentials included
  std::vector<std::string> from_credentials;  ///< variables whose value came from one
  std::optional<Config> config;  ///< with the options of unit or record over it; nothing if it cannot be read
  std::string config_error;

  std::string program;                                            ///< the stem that runs the node
  std::string runtime_dir, pidfile, logfile, workdir, state_dir;  ///< absolute; empty = none
  bool asked_pidfile = false;                                     ///< the pidfile was named by whoever asks
  Health health;

  WallTime now{};
  bool clock_synchronised = true;

  /// What the worker opens: as configured, or the embedded default of its user. Throws Error 78 if there is
  /// no place for one. Only with a config.
  std::string broker_url() const;

  bool under_systemd() const { return unit && unit->found(); }
  bool running() const { return health.pid > 0; }
  std::string unit_name() const { return unit_of(node); }
  /// `systemctl --user start` for a person's unit.
  std::string systemctl(const std::string& words) const {
    return std::string("systemctl ") + (scope == Scope::user ? "--user " : "") + words;
  }
  std::string at(const std::string& path) const { return root + "/" + path; }
};

/// Looks the node up. Throws nothing for what it finds.
Subject survey(const DiagnosisQuery& query);

}  // namespace stem
