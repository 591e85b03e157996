#include "diagnosis/subject.hpp"

#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "service/command_line.hpp"
#include "service/credentials.hpp"
#include "service/env_file.hpp"
#include "service/node_template.hpp"
#include "storage/open.hpp"
#include "supervisor/supervisor_detached.hpp"
#include "supervisor/supervisor_systemd.hpp"

namespace stem {
namespace {

/// The options of `stem worker start` in a command line, each with its values.
class StartOptions {
 public:
  explicit StartOptions(const std::vector<std::string>& words) {
    if (words.size() < 3 || words[1] != "worker" || words[2] != "start") return;
    for (std::size_t i = 3; i < words.size(); ++i) {
      auto name = words[i];
      if (name == "-A") name = "--app";
      if (name == "-q") name = "--queue";
      if (const auto equals = name.find('='); name.starts_with("--") && equals != name.npos)
        values_.emplace_back(name.substr(0, equals), name.substr(equals + 1));
      else if (name.starts_with('-') && i + 1 < words.size() && !words[i + 1].starts_with('-'))
        values_.emplace_back(name, words[++i]);
    }
  }
  std::vector<std::string> all(const std::string& name) const {
    std::vector<std::string> found;
    for (const auto& [option, value] : values_)
      if (option == name) found.push_back(value);
    return found;
  }
  std::string last(const std::string& name) const {
    const auto found = all(name);
    return found.empty() ? std::string() : found.back();
  }

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

std::string value_of(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

std::string self_program() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

/// Fills a subject in, step by step.
class Survey {
 public:
  explicit Survey(const DiagnosisQuery& query) : query_(query) {
    s_.node = query.node;
    s_.root = query.root;
    s_.asked_pidfile = !query.pidfile.empty();
  }

  Subject run() {
    ask_systemd();
    look_for_record();
    find_account();
    read_environment();
    read_credentials();
    read_config();
    ask_for_health();
    find_files();
    look_at_clock();
    return std::move(s_);
  }

 private:
  void ask_systemd() {
    using Kind = SupervisorSettings::Kind;
    using Reach = SupervisorSettings::Reach;
    s_.systemd_booted = manager_runs(Scope::system);
    const auto& wish = query_.supervisor;
    if (wish.kind == Kind::detached ||
        (!s_.systemd_booted && wish.kind != Kind::systemd && wish.reach == Reach::automatic))
      return;

    std::vector<Scope> scopes;
    if (wish.reach != Reach::user) scopes.push_back(Scope::system);
    if (wish.reach == Reach::user ||
        (wish.reach == Reach::automatic && geteuid() != 0 && manager_runs(Scope::user)))
      scopes.push_back(Scope::user);
    for (const auto scope : scopes) {
      try {
        auto sheet = read_unit_sheet(scope, s_.unit_name());
        const bool last = scope == scopes.back();
        if (!last && sheet.facts.active_state == "inactive") continue;
        s_.scope = scope;
        s_.unit = std::move(sheet);
        s_.manager_error.clear();
        if (scope == Scope::system) s_.twin = read_unit_sheet(scope, "stem-worker.service");
        break;
      } catch (const Error& error) {
        s_.scope = scope;
        s_.manager_error = error.what();
      }
    }
    if (s_.scope == Scope::user)
      s_.lingers = access(s_.at("var/lib/systemd/linger/" + user_name(getuid())).c_str(), F_OK) == 0;
  }

  void look_for_record() {
    const SupervisorDetached fallback(query_.supervisor.runtime_dir, query_.supervisor.environment);
    s_.record = fallback.recorded(s_.node);
    // A node that was started without systemd on a machine that has it.
    if (s_.record && query_.supervisor.kind == SupervisorSettings::Kind::automatic &&
        query_.supervisor.reach == SupervisorSettings::Reach::automatic && s_.unit &&
        s_.unit->facts.active_state == "inactive") {
      s_.scope.reset();
      s_.unit.reset();
    }
  }

  void find_account() {
    if (s_.unit && s_.scope == Scope::system) {
      s_.user = s_.unit->user.empty() ? "root" : s_.unit->user;
      s_.group = s_.unit->group;
    } else if (!s_.unit && geteuid() == 0) {
      s_.user = value_of(query_.supervisor.environment, "STEMD_USER");
      s_.group = value_of(query_.supervisor.environment, "STEMD_GROUP");
    }
    s_.account = s_.user.empty() ? Account::self() : Account::named(s_.user, s_.group);
    if (s_.user.empty()) s_.user = s_.account->name;
  }

  void read_environment() {
    if (s_.under_systemd()) {
      for (const auto& assignment : s_.unit->environment)
        if (const auto equals = assignment.find('='); equals != assignment.npos)
          s_.environment[assignment.substr(0, equals)] = assignment.substr(equals + 1);
      for (const auto& file : s_.unit->env_files) s_.env_files.push_back({file.path, file.may_be_missing});
    } else {
      s_.environment = query_.supervisor.environment;
      try {
        if (const auto listed = value_of(s_.environment, "STEM_ENV_FILE");
            listed.find_first_not_of(" \t") != listed.npos)
          for (const auto& path : split_command(listed))
            s_.env_files.push_back({NodeTemplate::now(s_.node).expand(path), true});
      } catch (const Error&) {
        // STEM_ENV_FILE itself is wrong: every other command says so before it does anything else.
      }
      if (s_.record && !s_.record->options.env_file.empty())
        s_.env_files.push_back({s_.record->options.env_file, false});
    }
    if (!query_.env_file.empty()) s_.env_files.push_back({query_.env_file, false});
    for (const auto& source : s_.env_files) {
      try {
        EnvFile::read(source.path).apply_to(s_.environment);
      } catch (const Error&) {
        // The check of environment files tells.
      }
    }
  }

  /// Where systemd would find it, or has put it for the unit that runs.
  std::vector<std::string> files_of(const UnitSheet::Credential& credential) const {
    std::vector<std::string> files;
    const auto running =
        s_.scope == Scope::user ? user_runtime_dir() + "/credentials/" : s_.at("run/credentials/");
    files.push_back(running + s_.unit_name() + "/" + credential.id);
    if (credential.encrypted) return files;
    if (credential.path.starts_with('/')) {
      files.push_back(credential.path);
      return files;
    }
    for (const char* store :
         {"etc/credstore/", "run/credstore/", "usr/local/lib/credstore/", "usr/lib/credstore/"})
      files.push_back(s_.at(store) + credential.path);
    return files;
  }

  void read_credentials() {
    auto with = s_.environment;
    if (s_.under_systemd()) {
      for (const auto& setting : settings()) {
        if (!setting.secret) continue;
        for (const auto& credential : s_.unit->credentials) {
          if (credential.id != setting.credential()) continue;
          for (const auto& file : files_of(credential)) {
            try {
              with[std::string(setting.name)] = read_credential(file);
              s_.from_credentials.emplace_back(setting.name);
              break;
            } catch (const Error&) {
              // Missing here, or not for us; the check of credentials looks again.
            }
          }
        }
      }
    } else {
      try {
        with = with_credentials(s_.environment);
        for (const auto& setting : settings())
          if (value_of(with, std::string(setting.name)) !=
              value_of(s_.environment, std::string(setting.name)))
            s_.from_credentials.emplace_back(setting.name);
      } catch (const Error& error) {
        s_.config_error = error.what();
      }
    }
    s_.environment = std::move(with);
  }

  void read_config() {
    const StartOptions options(s_.under_systemd() ? s_.unit->exec_start : std::vector<std::string>{});
    const auto remembered = s_.record && !s_.unit ? s_.record->options : NodeOptions{};
    s_.program =
        s_.under_systemd() && !s_.unit->exec_start.empty() ? s_.unit->exec_start.front() : self_program();
    try {
      if (!s_.config_error.empty()) throw Error(Exit::config, s_.config_error);
      auto config = Config::from(s_.environment);
      auto apps = options.all("--app");
      if (apps.empty()) apps = remembered.apps;
      auto command = options.last("--command");
      if (command.empty()) command = remembered.command;
      if (!command.empty())
        config.command = command;
      else if (!apps.empty())
        config.command.clear();
      if (!apps.empty()) config.apps = apps;
      if (const auto said = options.last("--pidfile"); !said.empty()) config.pidfile = said;
      if (const auto said = options.last("--logfile"); !said.empty()) config.logfile = said;
      if (const auto said = options.last("--runtime-dir"); !said.empty()) config.runtime_dir = said;
      s_.config = std::move(config);
    } catch (const Error& error) {
      s_.config_error = error.what();
    }
    s_.workdir = options.last("--workdir");
    if (s_.workdir.empty()) s_.workdir = remembered.workdir;
    if (s_.under_systemd()) {
      if (s_.workdir.empty()) s_.workdir = s_.unit->working_directory;
      if (s_.workdir.starts_with('!')) s_.workdir.erase(0, 1);  // may be missing: systemd.exec(5)
    }
    expand(s_.workdir);
  }

  void ask_for_health() {
    HealthQuery health;
    health.node = s_.node;
    health.pidfile = query_.pidfile;
    health.supervisor = query_.supervisor;
    if (s_.config && !s_.config->runtime_dir.empty()) health.supervisor.runtime_dir = s_.config->runtime_dir;
    if (!s_.scope) health.supervisor.kind = SupervisorSettings::Kind::detached;
    if (s_.scope)
      health.supervisor.reach =
          s_.scope == Scope::user ? SupervisorSettings::Reach::user : SupervisorSettings::Reach::system;
    s_.health = check_health(health);
    s_.runtime_dir = health.supervisor.runtime_dir;
    if (s_.under_systemd() && (!s_.config || s_.config->runtime_dir.empty()))
      s_.runtime_dir = s_.scope == Scope::user ? user_runtime_dir() + "/stem" : "/run/stem";
  }

  /// A template becomes a path, or empty where only the worker knows what its marks stood for.
  void expand(std::string& text) const {
    if (text.find("%d") != text.npos) return text.clear();
    try {
      text = NodeTemplate::now(s_.node).expand(text);
    } catch (const Error&) {
      text.clear();
    }
  }

  void find_files() {
    s_.pidfile = query_.pidfile;
    if (s_.pidfile.empty() && s_.config) expand(s_.pidfile = s_.config->pidfile);
    if (s_.pidfile.empty() && s_.record && !s_.unit) s_.pidfile = s_.record->pidfile;
    if (s_.pidfile.empty()) s_.pidfile = s_.health.pidfile;
    s_.logfile = query_.logfile;
    if (s_.logfile.empty() && s_.config) expand(s_.logfile = s_.config->logfile);
    if (s_.logfile.empty() && s_.record && !s_.unit) s_.logfile = s_.record->logfile;
    if (s_.logfile.empty()) s_.logfile = s_.health.logfile;
    if (s_.under_systemd() && s_.scope == Scope::system && !s_.unit->state_directories.empty())
      s_.state_dir = s_.at("var/lib/" + s_.unit->state_directories.front());
  }

  void look_at_clock() {
    s_.now = Clock::system().wall();
    timex clock{};
    s_.clock_synchronised = adjtimex(&clock) >= 0 && !(clock.status & STA_UNSYNC);
  }

  const DiagnosisQuery& query_;
  Subject s_;
};

}  // namespace

std::string Subject::broker_url() const {
  if (!config->broker_url.empty()) return config->broker_url;
  if (!state_dir.empty() || !account || account->user == 0)
    return "sqlite://" + (state_dir.empty() ? "/var/lib/stem" : state_dir) + "/stem.db";
  auto theirs = environment;
  theirs["HOME"] = account->home;
  if (geteuid() != 0 || account->home == "/var/lib/stem") return default_url(theirs);
  // default_url() takes root, who asks, for the worker.
  const auto state = theirs.find("XDG_STATE_HOME");
  return "sqlite://" + (state == theirs.end() ? account->home + "/.local/state" : state->second) +
         "/stem/stem.db";
}

Subject survey(const DiagnosisQuery& query) {
  return Survey(query).run();
}

}  // namespace stem
