#include "supervisor/health.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "core/milliseconds.hpp"
#include "core/redaction.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/pidfile.hpp"
#include "supervisor/drop_in.hpp"
#include "supervisor/process_facts.hpp"
#include "supervisor/scope.hpp"
#include "supervisor/supervisor_detached.hpp"
#include "supervisor/supervisor_systemd.hpp"
#include "supervisor/unit_reader.hpp"

namespace stem {
namespace {

/// Leaves a caller who allows one second in all some of it.
constexpr Duration patience = std::chrono::milliseconds{800};

Duration from_ms(const Json& number) {
  return std::chrono::milliseconds{number.get<std::int64_t>()};
}

/// One check: collects what is seen; the first complaint is the error.
class Check {
 public:
  explicit Check(const HealthQuery& query) : query_(query) { health_.node = query.node; }

  Health run() {
    if (query_.supervisor.kind != SupervisorSettings::Kind::detached) ask_systemd();
    look_at_process();
    ask_worker_itself();
    look_at_pidfile();
    if (!seen_) complain("node " + health_.node + " does not run: " + absent_);
    if (health_.pid > 0) health_.uptime = process_age(health_.pid);
    if (health_.uptime) health_.since = Clock::system().wall() - *health_.uptime;
    health_.ok = health_.error.empty();
    return std::move(health_);
  }

 private:
  void complain(const std::string& what) {
    // The worker's own line is in some: a foreign program says what it likes.
    if (health_.error.empty()) health_.error = redacted(what);
  }

  std::string unit() const { return query_.unit.empty() ? unit_of(health_.node) : query_.unit; }

  void ask_systemd() {
    using Reach = SupervisorSettings::Reach;
    const auto reach = query_.supervisor.reach;
    std::vector<Scope> scopes;
    // Everybody may look at the system's units, so a probe that runs as another user than root finds them as
    // well.
    if (reach != Reach::user) scopes.push_back(Scope::system);
    if (reach == Reach::user || (reach == Reach::automatic && geteuid() != 0)) scopes.push_back(Scope::user);
    for (const auto scope : scopes) {
      if (!manager_runs(scope)) continue;
      absent_ = "systemd has no active unit " + unit() + ", ";
      try {
        UnitReader reader{Manager(scope)};
        auto facts = reader.find({unit()}).front();
        if (facts.active_state == "inactive" || facts.load_state.empty()) continue;
        using R = UnitReader;
        reader.fill({{&facts, R::pid | R::watchdog | R::failure | (facts.running() ? 0U : R::life)}});
        return take(facts, scope);
      } catch (const Error& error) {
        if (query_.supervisor.kind == SupervisorSettings::Kind::systemd) complain(error.what());
      }
    }
    if (absent_.empty() && query_.supervisor.kind == SupervisorSettings::Kind::systemd)
      absent_ = "systemd does not run here, ";
  }

  void take(const UnitFacts& facts, Scope scope) {
    seen_ = true;
    scope_ = scope;
    health_.supervisor = scope == Scope::system ? "systemd" : "systemd --user";
    health_.unit = facts.unit;
    health_.state = facts.active_state == "active"         ? "running"
                    : facts.active_state == "activating"   ? "starting"
                    : facts.active_state == "deactivating" ? "stopping"
                                                           : facts.active_state;
    health_.pid = facts.main_pid;
    health_.watchdog_enabled = facts.watchdog_limit.count() > 0;
    if (health_.watchdog_enabled) {
      health_.watchdog_limit = facts.watchdog_limit;
      health_.watchdog_age = facts.watchdog_age;
    }
    const auto why = describe_failure(facts);
    if (facts.active_state == "failed")
      complain("unit " + facts.unit + " has failed: " + why + "; `systemctl status " + facts.unit +
               "` shows more");
    if (facts.sub_state == "auto-restart")
      complain("unit " + facts.unit + " has failed and will be started again: " + why);
    if (facts.sub_state == "start" || facts.sub_state == "start-pre")
      complain("the " + query_.what + " is not ready yet" +
               (facts.status_text.empty() ? "" : ": " + facts.status_text));
    if (facts.running() && facts.main_pid == 0) complain("unit " + facts.unit + " has no main process");
    if (facts.running() && health_.watchdog_enabled &&
        facts.watchdog_age.value_or(Duration{}) > facts.watchdog_limit)
      complain("no sign of progress for " +
               format_duration(std::chrono::milliseconds{ms(*facts.watchdog_age)}) + "; systemd allows " +
               format_duration(facts.watchdog_limit));
  }

  void look_at_process() {
    if (health_.pid <= 0) return;
    const char letter = process_letter(health_.pid).value_or('?');
    const auto process = "process " + std::to_string(health_.pid);
    stopped_ = letter == 'T';
    switch (letter) {
      case 'T':
        complain(process + " is stopped by a signal; `kill -CONT " + std::to_string(health_.pid) +
                 "` lets it go on");
        break;
      case 'Z':
      case 'X':
        complain(process + " is dead");
        break;
      default:
        break;
    }
  }

  /// Directories where its control socket may be, the likeliest first.
  std::vector<std::string> runtime_dirs() const {
    std::vector<std::string> dirs;
    const auto add = [&](const std::string& dir) {
      if (!dir.empty() && std::find(dirs.begin(), dirs.end(), dir) == dirs.end()) dirs.push_back(dir);
    };
    if (scope_) add(*scope_ == Scope::system ? "/run/stem" : user_runtime_dir() + "/stem");
    add(query_.supervisor.runtime_dir);
    if (!query_.pidfile.empty()) add(std::filesystem::path(query_.pidfile).parent_path());
    return dirs;
  }

  void ask_worker_itself() {
    if (stopped_) return;  // it could only let us wait
    for (const auto& dir : runtime_dirs()) {
      try {
        return take(ask_worker(control_socket_path(dir, health_.node), "health", patience));
      } catch (const Error& error) {
        if (error.code() == Exit::unavailable) continue;  // nobody is there
        // Who may not ask is left with what systemd says; without that there is nothing to go by.
        if (error.code() == Exit::no_permission && scope_) return;
        seen_ = true;
        return complain(error.what());
      } catch (const Json::exception&) {
        seen_ = true;
        return complain(
            "the " + query_.what +
            "'s answer at its control socket is not understood; is it of another version of Stem?");
      }
    }
    absent_ += "nobody answers at its control socket";
    // Under systemd a program without our control socket may still say how it fares, by the watchdog.
    if (scope_ && health_.state == "running" && !health_.watchdog_enabled)
      complain("nobody answers at the " + query_.what +
               "'s control socket, and its unit has no watchdog: whether it makes "
               "progress cannot be told");
  }

  void take(const Json& answer) {
    seen_ = true;
    const auto pid = answer.at("pid").get<pid_t>();
    if (health_.pid > 0 && pid != health_.pid)
      complain("process " + std::to_string(pid) + " answers for node " + health_.node +
               ", but the main process of its unit is " + std::to_string(health_.pid));
    if (health_.pid <= 0) health_.pid = pid;
    health_.queues = answer.at("queues").get<std::vector<std::string>>();
    health_.inflight = answer.at("inflight").get<int>();
    if (health_.state.empty()) health_.state = answer.at("state").get<std::string>();
    const auto& broker = answer.at("broker");
    health_.broker_connected = broker.at("connected").get<bool>();
    if (!broker.at("ageMs").is_null()) health_.broker_age = from_ms(broker.at("ageMs"));
    if (!scope_) {
      const auto& watchdog = answer.at("watchdog");
      health_.watchdog_enabled = watchdog.at("enabled").get<bool>();
      if (!watchdog.at("limitMs").is_null()) health_.watchdog_limit = from_ms(watchdog.at("limitMs"));
      if (!watchdog.at("ageMs").is_null()) health_.watchdog_age = from_ms(watchdog.at("ageMs"));
    }
    health_.pool = answer.value("pool", Json());
    if (answer.at("pidfile").is_string()) health_.pidfile = answer.at("pidfile");
    if (answer.at("logfile").is_string()) health_.logfile = answer.at("logfile");

    const auto line = answer.at("statusText").get<std::string>();
    if (!answer.at("stuck").empty())
      complain("no progress: " + answer.at("stuck").front().get<std::string>());
    if (answer.at("state") == "starting") complain("the " + query_.what + " is not ready yet: " + line);
    // A shim looks after a program that has a broker of its own.
    if (answer.at("child").is_null() && !*health_.broker_connected)
      complain("the " + query_.what + " cannot reach its broker: " + line);
  }

  void look_at_pidfile() {
    auto path = query_.pidfile;
    if (!scope_) {
      const SupervisorDetached fallback(query_.supervisor.runtime_dir, query_.supervisor.environment);
      if (path.empty()) path = health_.pidfile;
      if (path.empty()) path = NodeRecords(query_.supervisor.runtime_dir).pidfile_of(health_.node);
      if (const auto record = fallback.recorded(health_.node)) {
        health_.supervisor = fallback.name();
        if (health_.logfile.empty()) health_.logfile = record->logfile;
      }
    }
    if (path.empty()) path = health_.pidfile;
    if (path.empty())
      path =
          (*scope_ == Scope::system ? "/run/stem/" : user_runtime_dir() + "/stem/") + health_.node + ".pid";
    health_.pidfile = path;

    using Kind = PidfileState::Kind;
    const auto state = read_pidfile(path);
    const bool asked_for = !query_.pidfile.empty();
    if (state.kind == Kind::live) {
      if (!seen_)
        complain("process " + std::to_string(state.pid) + " holds the pidfile " + path + ", but " + absent_);
      if (seen_ && health_.pid > 0 && health_.pid != state.pid)
        complain("the pidfile " + path + " names process " + std::to_string(state.pid) + ", but the " +
                 query_.what + " is " + std::to_string(health_.pid));
      if (!seen_) health_.pid = state.pid;
      if (!seen_) look_at_process();
      seen_ = true;
    } else if (state.kind == Kind::foreign || state.kind == Kind::forbidden) {
      if (asked_for) complain("the pidfile " + path + " cannot be used: " + state.detail);
    } else if (asked_for && health_.pid > 0) {
      complain("the pidfile " + path + (state.kind == Kind::missing ? " is missing" : " is held by nobody") +
               ", though the " + query_.what + " runs as process " + std::to_string(health_.pid));
    } else if (!seen_) {
      absent_ += state.kind == Kind::missing ? ", and there is no pidfile " + path
                                             : ", and the pidfile " + path + " is left over from a " +
                                                   query_.what + " that has ended";
    }
  }

  const HealthQuery& query_;
  Health health_;
  std::optional<Scope> scope_;
  bool seen_ = false;  // something says that the node is there
  bool stopped_ = false;
  std::string absent_;  // what was looked for in vain
};

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
Json or_null(const std::string& text) {
  return text.empty() ? Json() : Json(text);
}
Json ms_or_null(const std::optional<Duration>& length) {
  return length ? Json(ms(*length)) : Json();
}

}  // namespace

Health check_health(const HealthQuery& query) {
  return Check(query).run();
}

Json to_json(const Health& health) {
  return {
      {"status", health.ok ? "ok" : "error"},
      {"node", health.node},
      {"pid", health.pid > 0 ? Json(health.pid) : Json()},
      {"since", health.since ? Json(format_time(*health.since)) : Json()},
      {"uptimeSeconds",
       health.uptime ? Json(duration_cast<std::chrono::seconds>(*health.uptime).count()) : Json()},
      {"queues", or_null(health.queues)},
      {"inflight", or_null(health.inflight)},
      {"supervisor", or_null(health.supervisor)},
      {"unit", or_null(health.unit)},
      {"state", or_null(health.state)},
      {"watchdog",
       {{"enabled", health.watchdog_enabled},
        {"limitMs", ms_or_null(health.watchdog_limit)},
        {"ageMs", ms_or_null(health.watchdog_age)}}},
      {"broker", {{"connected", or_null(health.broker_connected)}, {"ageMs", ms_or_null(health.broker_age)}}},
      {"pool", health.pool},
      {"pidfile", or_null(health.pidfile)},
      {"logfile", or_null(health.logfile)},
      {"error", or_null(health.error)},
  };
}

}  // namespace stem
