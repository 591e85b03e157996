#include "supervisor/supervisor_systemd.hpp"

#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>

#include "service/directories.hpp"
#include "supervisor/journal.hpp"
#include "supervisor/paths.hpp"
#include "supervisor/process_facts.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;
using Verb = SystemdJobs::Verb;

constexpr std::size_t excerpt_lines = 10;
constexpr Duration excerpt_patience = std::chrono::milliseconds{500};
/// How long to look for a manager that has gone, after the bus broke: it re-executes within seconds.
constexpr auto lost_patience = std::chrono::seconds{90};

std::string verb_word(Verb verb) {
  switch (verb) {
    case Verb::start:
      return "start";
    case Verb::stop:
      return "stop";
    case Verb::restart:
      return "restart";
  }
  return {};
}

std::string user_name() {
  return geteuid() == 0 ? "root" : "user " + std::to_string(geteuid());
}

/// The three ways out.
Error not_permitted(Verb verb, const std::string& what) {
  return Error(Exit::no_permission,
               user_name() + " may not " + verb_word(verb) + " " + what +
                   "; use sudo, let a polkit rule allow it (org.freedesktop.systemd1.manage-units), or "
                   "run the nodes under your own service manager with --user");
}

/// A refused call in words, with its exit status.
std::pair<Exit, std::string> explain_refusal(const SystemdJobs::Ended& ended, Scope scope, Verb verb) {
  const auto& name = ended.error_name;
  const std::string flag = scope == Scope::user ? "--user " : "";
  if (is_permission_error(name)) return {Exit::no_permission, not_permitted(verb, ended.unit).what()};
  if (name == "org.freedesktop.systemd1.NoSuchUnit")
    return {Exit::config,
            "stem-worker@.service is not installed for this service manager; install Stem's units and say "
            "`systemctl " +
                flag + "daemon-reload`"};
  if (name == "org.freedesktop.systemd1.UnitMasked")
    return {Exit::config,
            ended.unit + " is masked; `systemctl " + flag + "unmask " + ended.unit + "` allows it"};
  if (name == "org.freedesktop.systemd1.BadUnitSetting" || name == "org.freedesktop.systemd1.LoadFailed")
    return {Exit::config, ended.error_text + " See `systemctl " + flag + "cat " + ended.unit + "`."};
  return {Exit::unhealthy, ended.error_text + " (" + name + ")"};
}

std::string journal_command(const std::string& unit, Scope scope) {
  return std::string("journalctl ") + (scope == Scope::user ? "--user " : "") + "-u " + unit;
}

NodeState::State state_of(const UnitFacts& facts) {
  const auto& active = facts.active_state;
  if (active == "active") return NodeState::State::running;
  if (active == "reloading") return NodeState::State::reloading;
  if (active == "activating") return NodeState::State::starting;
  if (active == "deactivating") return NodeState::State::stopping;
  if (active == "failed") return NodeState::State::failed;
  return NodeState::State::stopped;
}

}  // namespace

bool manager_runs(Scope scope) {
  if (sd_booted() <= 0) return false;
  // Of a person's manager only the person may see the socket; for the system, sd_booted() has said it.
  return scope == Scope::system || access(private_socket(scope).c_str(), F_OK) == 0;
}

SupervisorSystemd::SupervisorSystemd(Scope scope)
    : scope_(scope),
      drop_ins_(scope == Scope::system ? "/run/systemd/system" : user_runtime_dir() + "/systemd/user",
                installed_program, scope) {}

std::string SupervisorSystemd::name() const {
  return scope_ == Scope::system ? "systemd" : "systemd --user";
}

std::vector<std::string> SupervisorSystemd::remember(const std::vector<NodeRequest>& nodes,
                                                     const ActionSettings& settings) {
  std::vector<std::string> changed;
  for (const auto& [node, options] : nodes) {
    if (options.empty() && !settings.reset) continue;
    const auto older = settings.reset ? NodeOptions{} : drop_ins_.options(node);
    const auto all = merged(older, options);
    make_places(node, all);
    if (drop_ins_.set(node, all)) changed.push_back(node);
  }
  if (!changed.empty()) SystemdJobs(scope_).reload_manager();
  return changed;
}

/// The directories of the node's own pidfile and log file, for the user that the shipped unit runs as. Where
/// they cannot be made the worker itself says so, with the path, when it starts.
void SupervisorSystemd::make_places(const std::string& node, const NodeOptions& options) const {
  if (scope_ == Scope::system && geteuid() != 0) return;
  for (const auto& directory : places_of(node, options)) {
    struct stat status {};
    if (stat(directory.c_str(), &status) == 0) continue;
    make_directories(directory, scope_ == Scope::system ? Owner::named("stem") : Owner::self(),
                     options.private_dirs);
  }
}

/// One act(): outcomes as they come in.
struct SupervisorSystemd::Action {
  SupervisorSystemd& supervisor;
  Verb verb;
  ActionWatcher& watcher;
  SteadyTime began = std::chrono::steady_clock::now();
  std::map<std::string, NodeOutcome> outcomes;  // by node
  std::map<std::string, UnitFacts> failures;    // by node
  std::vector<std::string> lost;                // units

  void settle(NodeOutcome outcome) {
    outcome.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began);
    watcher.ended(outcome);
    outcomes.emplace(outcome.node, std::move(outcome));
  }

  void on_ended(const SystemdJobs::Ended& ended) {
    if (ended.result == "lost") return lost.push_back(ended.unit);
    NodeOutcome outcome;
    outcome.node = node_of(ended.unit);
    outcome.pid = ended.facts.main_pid;
    if (ended.result == "queued") {
      outcome.kind = Kind::queued;
    } else if (ended.result == "refused") {
      outcome.kind = Kind::failed;
      std::tie(outcome.code, outcome.message) = explain_refusal(ended, supervisor.scope_, verb);
    } else if (ended.result == "late") {
      outcome.kind = Kind::failed;
      outcome.code = Exit::try_again;
      outcome.message = "did not " + verb_word(verb) +
                        " within --timeout; systemd goes on with it: see `stem worker multi status`";
    } else {
      judge(outcome, ended.result, ended.facts);
    }
    settle(std::move(outcome));
  }

  /// A job has ended: whether that is what was wanted.
  void judge(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts) {
    const bool stopped = facts.active_state == "inactive" || facts.active_state == "failed";
    if (result == "done" && (verb == Verb::stop ? stopped : facts.running())) {
      if (verb == Verb::stop) outcome.pid = 0;
      return;
    }
    outcome.kind = Kind::failed;
    outcome.code = Exit::unhealthy;
    if (result == "canceled") {
      outcome.message = "the job was canceled: somebody else asked for something different meanwhile";
    } else if (result == "dependency") {
      outcome.message = "a unit that it needs could not be started; `systemctl list-dependencies " +
                        unit_of(outcome.node) + "` shows which";
    } else if (result == "skipped" ||
               (result == "done" && facts.active_state == "inactive" && verb != Verb::stop)) {
      outcome.message =
          "systemd did not start it: a condition of its unit does not hold, or it ended at once";
    } else if (result == "done" && verb == Verb::stop) {
      outcome.message = "it was stopped, but has been started again by somebody else";
    } else {
      explain_failure(outcome, result, facts);
    }
  }

  void explain_failure(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts) {
    failures[outcome.node] = facts;
    const auto why = describe_failure(facts);
    outcome.message =
        (verb == Verb::stop ? "did not stop: " : "did not start: ") + (why.empty() ? result : why);
    if (facts.sub_state == "auto-restart") outcome.message += "; systemd tries again";
    if (facts.result == "exit-code" && facts.exit_status >= 64 && facts.exit_status <= 78)
      outcome.code = static_cast<Exit>(facts.exit_status);
  }

  void add_excerpts() {
    for (auto& [node, facts] : failures) {
      auto& outcome = outcomes.at(node);
      auto excerpt = journal_of(facts.invocation, supervisor.scope_, excerpt_lines, excerpt_patience);
      outcome.log = std::move(excerpt.lines);
      outcome.log_source = journal_command(facts.unit, supervisor.scope_);
      if (!excerpt.readable)
        outcome.message += "; the journal has the reason, for root and the group systemd-journal";
    }
  }

  /// The bus broke under our jobs: they go on without us, so the units' states tell how they end.
  void follow_lost(std::optional<SteadyTime> deadline) {
    const auto end = deadline.value_or(std::chrono::steady_clock::now() + lost_patience);
    while (!lost.empty()) {
      std::vector<UnitFacts> found;
      try {
        UnitReader reader(supervisor.scope_);
        found = reader.find(lost);
        std::vector<UnitReader::Request> requests;
        for (auto& facts : found)
          requests.push_back({&facts, UnitReader::pid | UnitReader::failure | UnitReader::invocation});
        reader.fill(requests);
      } catch (const Error&) {
      }
      const bool late = std::chrono::steady_clock::now() >= end;
      for (const auto& facts : found) {
        const bool moving =
            facts.job_pending || facts.active_state == "activating" || facts.active_state == "deactivating";
        if (moving && facts.sub_state != "auto-restart" && !late) continue;
        lost.erase(std::find(lost.begin(), lost.end(), facts.unit));
        NodeOutcome outcome;
        outcome.node = node_of(facts.unit);
        outcome.pid = facts.main_pid;
        const bool fine = verb == Verb::stop ? !facts.running() : facts.running();
        judge(outcome, fine ? "done" : "failed", facts);
        settle(std::move(outcome));
      }
      if (lost.empty()) break;
      if (late) {
        for (const auto& unit : lost)
          on_ended({unit,
                    "refused",
                    "org.freedesktop.DBus.Error.Disconnected",
                    "the service manager went away",
                    {}});
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{100});  // there is no bus left to be told by
    }
  }
};

std::vector<NodeOutcome> SupervisorSystemd::act(Verb verb, const std::vector<std::string>& nodes,
                                                const ActionSettings& settings, ActionWatcher& watcher,
                                                const std::vector<std::string>& changed) {
  Action action{*this, verb, watcher, {}, {}, {}, {}};
  action.began = std::chrono::steady_clock::now();
  std::optional<SteadyTime> deadline;
  if (settings.timeout) deadline = action.began + *settings.timeout;

  std::vector<std::string> units, due, forgive;
  for (const auto& node : nodes) units.push_back(unit_of(node));
  std::vector<UnitFacts> running;
  {
    // Closed before the jobs: each connection to the manager's own socket is told of everything that happens.
    UnitReader reader(scope_);
    for (auto& facts : reader.find(units)) {
      const bool at_rest = !facts.job_pending && (verb == Verb::start  ? facts.running()
                                                  : verb == Verb::stop ? facts.active_state == "inactive" ||
                                                                             facts.active_state == "failed"
                                                                       : false);
      if (at_rest) {
        running.push_back(std::move(facts));
        continue;
      }
      // Failures of the past must not count against a start by hand.
      if (verb != Verb::stop && !facts.load_state.empty() && !facts.running()) forgive.push_back(facts.unit);
      due.push_back(std::move(facts.unit));
    }
    std::vector<UnitReader::Request> requests;
    for (auto& facts : running) requests.push_back({&facts, verb == Verb::start ? UnitReader::pid : 0U});
    reader.fill(requests);
  }

  watcher.began();
  for (const auto& facts : running) {
    NodeOutcome outcome;
    outcome.node = node_of(facts.unit);
    outcome.kind = Kind::unchanged;
    outcome.pid = facts.main_pid;
    outcome.message = verb == Verb::stop ? "is stopped already" : "is running already";
    if (std::find(changed.begin(), changed.end(), outcome.node) != changed.end())
      outcome.message += "; `stem worker multi restart " + outcome.node + "` makes it take the new options";
    action.settle(std::move(outcome));
  }
  if (!due.empty()) {
    SystemdJobs jobs(scope_);
    jobs.run(verb, due, forgive, settings.wait, deadline,
             [&](const SystemdJobs::Ended& ended) { action.on_ended(ended); });
    action.follow_lost(deadline);
  }
  action.add_excerpts();

  std::vector<NodeOutcome> outcomes;
  for (const auto& node : nodes) outcomes.push_back(std::move(action.outcomes.at(node)));
  const bool forbidden = std::all_of(outcomes.begin(), outcomes.end(), [](const NodeOutcome& outcome) {
    return outcome.kind == Kind::failed && outcome.code == Exit::no_permission && outcome.log_source.empty();
  });
  if (forbidden) throw not_permitted(verb, outcomes.size() == 1 ? unit_of(nodes[0]) : "stem-worker@ units");
  return outcomes;
}

std::vector<NodeOutcome> SupervisorSystemd::start(const std::vector<NodeRequest>& nodes,
                                                  const ActionSettings& settings, ActionWatcher& watcher) {
  const auto changed = remember(nodes, settings);
  std::vector<std::string> names;
  for (const auto& request : nodes) names.push_back(request.node);
  return act(Verb::start, names, settings, watcher, changed);
}

std::vector<NodeOutcome> SupervisorSystemd::stop(const std::vector<std::string>& nodes,
                                                 const ActionSettings& settings, ActionWatcher& watcher) {
  return act(Verb::stop, nodes, settings, watcher, {});
}

std::vector<NodeOutcome> SupervisorSystemd::restart(const std::vector<NodeRequest>& nodes,
                                                    const ActionSettings& settings, ActionWatcher& watcher) {
  remember(nodes, settings);
  std::vector<std::string> names;
  for (const auto& request : nodes) names.push_back(request.node);
  return act(Verb::restart, names, settings, watcher, {});
}

std::vector<NodeState> SupervisorSystemd::status(const std::vector<std::string>& nodes) {
  using R = UnitReader;
  R reader(scope_);
  std::vector<UnitFacts> units;
  if (nodes.empty()) {
    std::map<std::string, UnitFacts> known;
    for (const auto& node : drop_ins_.nodes()) known[node].unit = unit_of(node);
    for (auto& facts : reader.list({unit_of("*")}))
      if (const auto node = node_of(facts.unit); !node.empty() && facts.load_state != "not-found")
        known[node] = std::move(facts);
    for (auto& [node, facts] : known) units.push_back(std::move(facts));
  } else {
    std::vector<std::string> names;
    for (const auto& node : nodes) names.push_back(unit_of(node));
    units = reader.find(names);
  }

  std::vector<R::Request> requests;
  for (auto& facts : units) {
    unsigned parts = 0;
    if (facts.active_state != "inactive" && facts.active_state != "failed") parts |= R::pid | R::life;
    if (facts.active_state == "failed" || facts.sub_state == "auto-restart") parts |= R::failure;
    if (parts) requests.push_back({&facts, parts});
  }
  reader.fill(requests);

  std::vector<NodeState> states;
  for (const auto& facts : units) {
    NodeState node;
    node.node = node_of(facts.unit);
    node.unit = facts.unit;
    node.state = state_of(facts);
    node.detail = describe_failure(facts);
    if (facts.sub_state == "auto-restart") node.detail = "will be started again after " + node.detail;
    node.pid = facts.main_pid;
    if (node.pid > 0) {
      node.uptime = process_age(node.pid);
      node.memory = unit_memory(node.pid, facts.unit);
      if (!node.memory)
        node.memory = process_memory(node.pid);  // no memory controller, or none for this unit
      node.restarts = facts.restarts;
      node.watchdog_age = facts.watchdog_age;
    }
    node.status = facts.status_text;
    states.push_back(std::move(node));
  }
  return states;
}

}  // namespace stem
