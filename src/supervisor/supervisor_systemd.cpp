#include "supervisor/supervisor_systemd.hpp"

#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "service/control_socket.hpp"
#include "service/directories.hpp"
#include "supervisor/journal.hpp"
#include "supervisor/paths.hpp"
#include "supervisor/process_facts.hpp"
#include "supervisor/refusal.hpp"
#include "supervisor/reload_receipt.hpp"
#include "supervisor/systemd_jobs.hpp"
#include "supervisor/unit_action.hpp"
#include "supervisor/unit_reader.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

constexpr Duration reload_patience = std::chrono::seconds{30};

NodeState::State state_word(const UnitFacts& facts) {
  const auto& active = facts.active_state;
  if (active == "active") return NodeState::State::running;
  if (active == "reloading") return NodeState::State::reloading;
  if (active == "activating") return NodeState::State::starting;
  if (active == "deactivating") return NodeState::State::stopping;
  if (active == "failed") return NodeState::State::failed;
  return NodeState::State::stopped;
}

std::vector<std::string> names_of(const std::vector<NodeRequest>& requests) {
  std::vector<std::string> names;
  for (const auto& request : requests) names.push_back(request.node);
  return names;
}

std::vector<std::string> units_of(const std::vector<std::string>& nodes) {
  std::vector<std::string> units;
  for (const auto& node : nodes) units.push_back(unit_of(node));
  return units;
}

/// True if the unit is as the verb wants it, or as it cannot be changed by it.
bool at_rest(Verb verb, const UnitFacts& facts) {
  if (facts.job_pending) return false;
  if (verb == Verb::start) return facts.running();
  if (verb == Verb::stop) return facts.active_state == "inactive" || facts.active_state == "failed";
  return verb == Verb::reload && !facts.running();
}

}  // namespace

bool manager_runs(Scope scope) {
  if (sd_booted() <= 0) return false;
  // Of a person's manager only the person may see the socket; for the system, sd_booted() has said it.
  return scope == Scope::system || access(private_socket(scope).c_str(), F_OK) == 0;
}

SupervisorSystemd::SupervisorSystemd(Scope scope, const std::string& host)
    : manager_(scope, host), drop_ins_(DropIns::Places::of(scope), installed_program, scope) {}

std::string SupervisorSystemd::name() const {
  if (!manager_.host.empty()) return "systemd on " + manager_.host;
  return manager_.scope == Scope::system ? "systemd" : "systemd --user";
}

void SupervisorSystemd::refuse_options_of_host(const std::vector<NodeRequest>& nodes,
                                               const ActionSettings& settings) const {
  if (manager_.host.empty()) return;
  const bool said =
      std::any_of(nodes.begin(), nodes.end(), [](const NodeRequest& one) { return !one.options.empty(); });
  if (said || settings.reset)
    throw Error(Exit::usage,
                "options of a node are kept in files on its own machine, which --host cannot write; give "
                "them there, or put them into /etc/stem/NODE.env of " +
                    manager_.host);
}

std::vector<std::string> SupervisorSystemd::remember(const std::vector<NodeRequest>& nodes,
                                                     const ActionSettings& settings) {
  refuse_options_of_host(nodes, settings);
  std::vector<std::string> changed;
  for (const auto& [node, options] : nodes) {
    if (options.empty() && !settings.reset) continue;
    const auto all = merged(settings.reset ? NodeOptions{} : drop_ins_.options(node), options);
    make_places(node, all);
    if (drop_ins_.set(node, all)) changed.push_back(node);
  }
  if (!changed.empty()) SystemdJobs(manager_).reload_manager();
  return changed;
}

/// The directories of the node's own pidfile and log file, for the user that the shipped unit runs as. Where
/// they cannot be made the worker itself says so, with the path, when it starts.
void SupervisorSystemd::make_places(const std::string& node, const NodeOptions& options) const {
  const bool system = manager_.scope == Scope::system;
  if (system && geteuid() != 0) return;
  for (const auto& directory : places_of(node, options)) {
    struct stat status {};
    if (stat(directory.c_str(), &status) == 0) continue;
    make_directories(directory, system ? Owner::named("stem") : Owner::self(), options.private_dirs);
  }
}

void SupervisorSystemd::settle_resting(UnitAction& action, Verb verb, const std::vector<UnitFacts>& resting,
                                       const std::vector<std::string>& changed) const {
  for (const auto& facts : resting) {
    NodeOutcome outcome;
    outcome.node = node_of(facts.unit);
    outcome.pid = facts.main_pid;
    if (verb == Verb::reload) {
      outcome.kind = Kind::failed;
      outcome.code = Exit::unhealthy;
      outcome.message =
          "does not run, so it cannot reload; `stem worker multi start " + outcome.node + "` starts it";
    } else {
      outcome.kind = Kind::unchanged;
      outcome.message = verb == Verb::stop ? "is stopped already" : "is running already";
    }
    if (std::find(changed.begin(), changed.end(), outcome.node) != changed.end())
      outcome.message += "; `stem worker multi restart " + outcome.node + "` makes it take the new options";
    action.settle(std::move(outcome));
  }
}

std::vector<NodeOutcome> SupervisorSystemd::act(UnitAction& action, Verb verb,
                                                const std::vector<std::string>& nodes,
                                                const ActionSettings& settings, ActionWatcher& watcher,
                                                const std::vector<std::string>& changed) {
  std::optional<SteadyTime> deadline;
  if (settings.timeout) deadline = action.began() + *settings.timeout;

  std::vector<std::string> due, forgive;
  std::vector<UnitFacts> resting;
  {
    // Closed before the jobs: each connection to the manager's own socket is told of everything that happens.
    UnitReader reader(manager_);
    for (auto& facts : reader.find(units_of(nodes))) {
      if (at_rest(verb, facts)) {
        resting.push_back(std::move(facts));
        continue;
      }
      // Failures of the past must not count against a start by hand.
      if (verb != Verb::stop && !facts.load_state.empty() && !facts.running()) forgive.push_back(facts.unit);
      due.push_back(std::move(facts.unit));
    }
    std::vector<UnitReader::Request> requests;
    for (auto& facts : resting) requests.push_back({&facts, verb == Verb::start ? UnitReader::pid : 0U});
    reader.fill(requests);
  }

  watcher.began();
  settle_resting(action, verb, resting, changed);
  if (!due.empty()) {
    SystemdJobs(manager_).run(verb, due, forgive, settings.wait, deadline,
                              [&](const SystemdJobs::Ended& ended) { action.on_ended(ended); });
    action.follow_lost(deadline);
  }
  auto outcomes = action.take(nodes);
  const bool forbidden = std::all_of(outcomes.begin(), outcomes.end(), [](const NodeOutcome& outcome) {
    return outcome.kind == Kind::failed && outcome.code == Exit::no_permission && outcome.log_source.empty();
  });
  if (forbidden && !outcomes.empty() && verb != Verb::reload)
    throw not_permitted(verb, outcomes.size() == 1 ? unit_of(nodes[0]) : "stem-worker@ units");
  return outcomes;
}

std::vector<NodeOutcome> SupervisorSystemd::start(const std::vector<NodeRequest>& nodes,
                                                  const ActionSettings& settings, ActionWatcher& watcher) {
  const auto changed = remember(nodes, settings);
  UnitAction action(manager_, Verb::start, watcher);
  return act(action, Verb::start, names_of(nodes), settings, watcher, changed);
}

std::vector<NodeOutcome> SupervisorSystemd::stop(const std::vector<std::string>& nodes,
                                                 const ActionSettings& settings, ActionWatcher& watcher) {
  UnitAction action(manager_, Verb::stop, watcher);
  return act(action, Verb::stop, nodes, settings, watcher);
}

std::vector<NodeOutcome> SupervisorSystemd::restart(const std::vector<NodeRequest>& nodes,
                                                    const ActionSettings& settings, ActionWatcher& watcher) {
  remember(nodes, settings);
  UnitAction action(manager_, Verb::restart, watcher);
  return act(action, Verb::restart, names_of(nodes), settings, watcher);
}

std::vector<NodeOutcome> SupervisorSystemd::reload(const std::vector<std::string>& nodes,
                                                   const ActionSettings& settings, ActionWatcher& watcher) {
  // The job of a unit with ExecReload= ends when the signal has been sent. Whoever may ask the worker hears
  // what came of it; for others the job has to do.
  std::map<std::string, ReloadReceipt> receipts;
  if (manager_.host.empty() && settings.wait) {
    const auto runtime = manager_.scope == Scope::system ? "/run/stem" : user_runtime_dir() + "/stem";
    for (const auto& node : nodes)
      if (const auto receipt = ReloadReceipt::before(control_socket_path(runtime, node)))
        receipts.emplace(node, *receipt);
  }
  UnitAction action(manager_, Verb::reload, watcher);
  action.confirm_with([&](NodeOutcome& outcome) {
    const auto receipt = receipts.find(outcome.node);
    if (receipt == receipts.end()) return;
    try {
      receipt->second.await(action.began() + settings.timeout.value_or(reload_patience));
    } catch (const Error& error) {
      outcome.kind = Kind::failed;
      outcome.code = error.code();
      outcome.message = error.what();
    }
  });
  return act(action, Verb::reload, nodes, settings, watcher);
}

/// Links first: what may not be linked is not to lose its options.
std::vector<NodeOutcome> SupervisorSystemd::link(Verb verb, const std::vector<NodeRequest>& nodes, bool reset,
                                                 ActionWatcher& watcher) {
  const auto began = std::chrono::steady_clock::now();
  watcher.began();
  SystemdJobs jobs(manager_);
  std::set<std::string> changed;
  for (const auto& path : jobs.link(verb, units_of(names_of(nodes))))
    changed.insert(std::filesystem::path(path).filename());
  if (manager_.host.empty())
    for (const auto& [node, options] : nodes) {
      const auto all = merged(reset ? NodeOptions{} : drop_ins_.options(node), options);
      if (verb == Verb::enable) make_places(node, all);
      if (drop_ins_.set(node, all, verb == Verb::enable)) changed.insert(unit_of(node));
    }
  if (!changed.empty()) jobs.reload_manager();

  std::vector<NodeOutcome> outcomes;
  for (const auto& request : nodes) {
    auto& outcome = outcomes.emplace_back();
    outcome.node = request.node;
    outcome.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began);
    if (!changed.contains(unit_of(request.node))) {
      outcome.kind = Kind::unchanged;
      outcome.message = std::string("is ") + word_of(verb) + "d already";
    }
    watcher.ended(outcome);
  }
  return outcomes;
}

std::vector<NodeOutcome> SupervisorSystemd::enable(const std::vector<NodeRequest>& nodes,
                                                   const ActionSettings& settings, ActionWatcher& watcher) {
  refuse_options_of_host(nodes, settings);
  return link(Verb::enable, nodes, settings.reset, watcher);
}

std::vector<NodeOutcome> SupervisorSystemd::disable(const std::vector<std::string>& nodes,
                                                    ActionWatcher& watcher) {
  std::vector<NodeRequest> requests;
  for (const auto& node : nodes) requests.push_back({node, {}});
  return link(Verb::disable, requests, false, watcher);
}

std::vector<std::string> SupervisorSystemd::nodes() {
  std::set<std::string> known;
  if (manager_.host.empty())
    for (auto& node : drop_ins_.nodes()) known.insert(std::move(node));
  for (const auto& facts : UnitReader(manager_).list({unit_of("*")}))
    if (auto node = node_of(facts.unit); !node.empty() && facts.load_state != "not-found")
      known.insert(std::move(node));
  return {known.begin(), known.end()};
}

void SupervisorSystemd::read_logs(const std::vector<std::string>& nodes, const LogQuery& query,
                                  LogReader& reader) {
  if (!manager_.host.empty())
    throw Error(Exit::usage, "logs are read on the machine that has them: `" +
                                 manager_.command("journalctl") + "-u 'stem-worker@*'`");
  for (const auto& node : nodes)
    if (const auto file = drop_ins_.options(node).logfile; !file.empty())
      reader.remark("node " + node + " writes a log file of its own, " + file +
                    "; the journal has what systemd says of it");
  read_journal(nodes, manager_.scope, query, reader);
}

NodeState SupervisorSystemd::state_of(const UnitFacts& facts) const {
  NodeState node;
  node.node = node_of(facts.unit);
  node.unit = facts.unit;
  node.state = state_word(facts);
  node.detail = describe_failure(facts);
  if (facts.sub_state == "auto-restart") node.detail = "will be started again after " + node.detail;
  node.pid = facts.main_pid;
  node.status = facts.status_text;
  if (node.pid <= 0) return node;
  node.restarts = facts.restarts;
  if (!manager_.host.empty()) {
    node.memory = facts.memory;
    // By two clocks, so not by less than nothing.
    if (facts.last_started) node.uptime = std::max(Clock::system().wall() - *facts.last_started, Duration{});
    return node;
  }
  node.watchdog_age = facts.watchdog_age;
  node.uptime = process_age(node.pid);
  node.memory = unit_memory(node.pid, facts.unit);
  if (!node.memory) node.memory = process_memory(node.pid);  // no memory controller, or none for this unit
  return node;
}

std::vector<NodeState> SupervisorSystemd::status(const std::vector<std::string>& nodes) {
  using R = UnitReader;
  R reader(manager_);
  std::vector<UnitFacts> units;
  if (nodes.empty()) {
    std::map<std::string, UnitFacts> known;
    if (manager_.host.empty())
      for (const auto& node : drop_ins_.nodes()) known[node].unit = unit_of(node);
    for (auto& facts : reader.list({unit_of("*")}))
      if (const auto node = node_of(facts.unit); !node.empty() && facts.load_state != "not-found")
        known[node] = std::move(facts);
    for (auto& [node, facts] : known) units.push_back(std::move(facts));
  } else {
    units = reader.find(units_of(nodes));
  }

  // Here /proc knows age and memory, for less.
  const unsigned of_process = R::pid | R::life | (manager_.host.empty() ? 0U : R::started | R::memory);
  std::vector<R::Request> requests;
  for (auto& facts : units) {
    unsigned parts = 0;
    if (facts.active_state != "inactive" && facts.active_state != "failed") parts |= of_process;
    if (facts.active_state == "failed" || facts.sub_state == "auto-restart") parts |= R::failure;
    if (parts) requests.push_back({&facts, parts});
  }
  reader.fill(requests);

  std::vector<NodeState> states;
  for (const auto& facts : units) states.push_back(state_of(facts));
  return states;
}

}  // namespace stem
