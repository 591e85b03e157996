#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/node_view.hpp"
#include "cli/worker_multi_logs.hpp"
#include "cli/worker_multi_options.hpp"
#include "cli/worker_multi_progress.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"

namespace stem::cli {
namespace {

std::string value_of(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
}

void print_json(const Supervisor& supervisor, Json list) {
  std::cout << Json{{"supervisor", supervisor.name()}, {"nodes", std::move(list)}}.dump(
                   2, ' ', false, Json::error_handler_t::replace)
            << '\n';
}

/// What failed, below the lines: to standard error, with the words of the journal or the log.
void print_failures(const std::vector<NodeOutcome>& outcomes) {
  std::string untouched;
  for (const auto& outcome : outcomes) {
    if (outcome.kind == NodeOutcome::Kind::untouched)
      untouched += (untouched.empty() ? "" : ", ") + outcome.node;
    if (outcome.kind != NodeOutcome::Kind::failed) continue;
    std::cerr << "stem worker multi: " << outcome.node << ": " << outcome.message << '\n';
    for (const auto& line : outcome.log) std::cerr << "    " << line << '\n';
    if (!outcome.log_source.empty()) std::cerr << "  more: " << outcome.log_source << '\n';
  }
  if (!untouched.empty()) std::cerr << "stem worker multi: not touched after that: " << untouched << '\n';
}

/// 0, or what the failed nodes agree on, or 1.
int exit_status_of(const std::vector<NodeOutcome>& outcomes) {
  std::optional<Exit> status;
  for (const auto& outcome : outcomes)
    if (outcome.kind == NodeOutcome::Kind::failed)
      status = !status || *status == outcome.code ? outcome.code : Exit::unhealthy;
  return static_cast<int>(status.value_or(Exit::ok));
}

void say_none_is_known() {
  std::cerr << "stem worker multi: no node is known; `stem worker multi start NODE` starts one\n";
}

int print_status(Supervisor& supervisor, const std::vector<std::string>& nodes, const Common& common) {
  const auto states = supervisor.status(nodes);
  if (common.json) {
    Json list = Json::array();
    for (const auto& state : states) list.push_back(to_json(state));
    print_json(supervisor, std::move(list));
  } else if (states.empty()) {
    say_none_is_known();
  } else {
    std::cout << status_table(states);
  }
  const bool all =
      std::all_of(states.begin(), states.end(), [](const NodeState& state) { return state.running(); });
  return static_cast<int>(all ? Exit::ok : Exit::not_running);
}

Verb verb_of(const std::string& action) {
  for (const auto verb : {Verb::start, Verb::stop, Verb::restart, Verb::reload, Verb::enable})
    if (action == word_of(verb)) return verb;
  return Verb::disable;
}

std::vector<NodeOutcome> carry_out(Supervisor& supervisor, Verb verb, bool rolling,
                                   const std::vector<NodeRequest>& requests,
                                   const std::vector<std::string>& nodes, const ActionSettings& how,
                                   ActionWatcher& watcher) {
  switch (verb) {
    case Verb::start:
      return supervisor.start(requests, how, watcher);
    case Verb::stop:
      return supervisor.stop(nodes, how, watcher);
    case Verb::restart:
      return rolling ? restart_rolling(supervisor, requests, how, watcher)
                     : supervisor.restart(requests, how, watcher);
    case Verb::reload:
      return supervisor.reload(nodes, how, watcher);
    case Verb::enable:
      return supervisor.enable(requests, how, watcher);
    case Verb::disable:
      return supervisor.disable(nodes, watcher);
  }
  return {};
}

std::unique_ptr<Supervisor> supervisor_of(const MultiOptions& options, const Environment& environment,
                                          bool starts) {
  SupervisorSettings settings;
  settings.kind = SupervisorSettings::kind_of(
      options.supervisor.empty() ? value_of(environment, "STEM_SUPERVISOR") : options.supervisor);
  // A host that is named is more than a default.
  if (!options.host.empty() && options.supervisor.empty())
    settings.kind = SupervisorSettings::Kind::automatic;
  settings.host = options.host;
  if (options.user) settings.reach = SupervisorSettings::Reach::user;
  if (options.system) settings.reach = SupervisorSettings::Reach::system;
  // Of use here is one setting. What else is wrong concerns who starts something.
  auto config = starts ? Config::from(environment) : Config{};
  if (!starts) config.runtime_dir = value_of(environment, "STEM_RUNTIME_DIR");
  if (!options.runtime_dir.empty())
    config.runtime_dir = std::filesystem::absolute(options.runtime_dir).lexically_normal();
  settings.runtime_dir = runtime_dir(config, environment);
  settings.environment = process_environment();
  return open_supervisor(settings);
}

int act(const MultiOptions& options, const Common& common) {
  const auto& action = options.action;
  const bool starts = action == "start" || action == "restart" || action == "enable";
  const auto environment = starts ? load_environment(common) : load_what_can_be_read(common);
  check_multi_options(options);
  auto nodes = named_nodes(options, environment);
  std::vector<NodeRequest> requests;
  if (starts && !options.all) requests = requests_of(options, nodes, common, environment);

  const auto supervisor = supervisor_of(options, environment, starts);
  if (common.verbose) std::cerr << "stem worker multi: nodes are managed by " << supervisor->name() << '\n';
  if (action == "status") return print_status(*supervisor, nodes, common);

  if (options.all) {
    nodes = supervisor->nodes();
    if (nodes.empty()) return say_none_is_known(), 0;
    if (starts) requests = requests_of(options, nodes, common, environment);
  }
  if (action == "logs") {
    LogPrinter printer(common.json, nodes.size() > 1);
    supervisor->read_logs(nodes, log_query(options), printer);
    return 0;
  }

  ActionSettings how;
  how.wait = !options.no_block;
  how.reset = options.reset;
  if (options.timeout.count() >= 0) how.timeout = options.timeout;
  const auto verb = verb_of(action);
  MultiProgress progress(nodes, verb, options.rolling, common.json);
  const auto outcomes = carry_out(*supervisor, verb, options.rolling, requests, nodes, how, progress);
  if (common.json) {
    Json list = Json::array();
    for (const auto& outcome : outcomes) list.push_back(to_json(outcome, verb));
    print_json(*supervisor, std::move(list));
  } else {
    print_failures(outcomes);
  }
  return exit_status_of(outcomes);
}

}  // namespace

Work define_worker_multi(CLI::App& app, Common& common) {
  auto options = std::make_shared<MultiOptions>();
  add_multi_options(app, *options);
  return [options, &common] { return act(*options, common); };
}

}  // namespace stem::cli
