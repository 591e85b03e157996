#include <unistd.h>

#include <sys/ioctl.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/node_view.hpp"
#include "core/name.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"
#include "supervisor/supervisor.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string action;
  std::vector<std::string> nodes;
  NodeOptions run;
  bool reset = false, no_block = false, user = false, system = false, detach = false;
  std::string supervisor, runtime_dir;
  Duration timeout{-1};
};

/// Lines that change in place at a terminal: `web-1  starting…` becomes `web-1  running, pid 123 (0.3s)`.
/// Elsewhere each line is written once, when its node has ended.
class Progress : public ActionWatcher {
 public:
  Progress(const std::vector<std::string>& nodes, const std::string& action, bool silent)
      : nodes_(nodes), stopping_(action == "stop"), silent_(silent) {
    winsize size{};
    in_place_ = !silent && isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
                nodes.size() < size.ws_row;
    columns_ = size.ws_col;
    waiting_ = action == "stop" ? "stopping…" : action == "restart" ? "restarting…" : "starting…";
  }

  void began() override {
    if (!in_place_) return;
    for (const auto& node : nodes_) std::cout << node << "  " << waiting_ << '\n';
    std::cout.flush();
    shown_ = true;
  }

  void ended(const NodeOutcome& outcome) override {
    if (silent_) return;
    auto line = outcome_line(outcome, stopping_);
    if (!shown_) {
      std::cout << line << std::endl;
      return;
    }
    // A line that the terminal breaks would throw out the count of lines.
    if (columns_ > 1 && line.size() >= columns_) line = line.substr(0, columns_ - 1);
    const auto at = std::find(nodes_.begin(), nodes_.end(), outcome.node) - nodes_.begin();
    const auto up = static_cast<std::ptrdiff_t>(nodes_.size()) - at;
    std::cout << "\x1b[" << up << "A\r\x1b[K" << line << "\x1b[" << up << "B\r" << std::flush;
  }

 private:
  const std::vector<std::string>& nodes_;
  bool stopping_, silent_, in_place_ = false, shown_ = false;
  std::size_t columns_ = 0;
  const char* waiting_;
};

/// As a worker sees it that is not started in our directory.
void make_absolute(std::string& path) {
  if (!path.empty() && path.front() != '/') path = std::filesystem::absolute(path).lexically_normal();
}

std::string value_of(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; (at = text.find_first_not_of(" \t\n,", at)) != std::string::npos;) {
    const auto end = std::min(text.find_first_of(" \t\n,", at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

/// Those named, or those of the environment; each once, in order. Throws Error 64 for a name that is none.
std::vector<std::string> nodes_of(const Options& options, const Environment& environment) {
  auto given = options.nodes;
  if (given.empty() && options.action != "status")
    for (const char* key : {"STEMD_NODES", "STEM_WORKER_NODES"})
      if (given.empty()) given = words_of(value_of(environment, key));
  std::vector<std::string> nodes;
  for (const auto& node : given) {
    require_name("node", node);
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  if (nodes.empty() && options.action != "status")
    throw Error(Exit::usage,
                "no node is named; say `stem worker multi " + options.action + " NODE…`, or set STEMD_NODES");
  return nodes;
}

/// What the nodes are to run with, in the words of a supervisor.
NodeOptions run_options(const Options& options, const Common& common, const Environment& environment) {
  auto run = options.run;
  run.env_file = common.env_file;
  for (auto* path : {&run.env_file, &run.pidfile, &run.logfile, &run.workdir}) make_absolute(*path);
  // A bare name is looked for where modules are installed.
  for (auto& app : run.apps)
    if (app.find('/') != std::string::npos) make_absolute(app);
  if (run.command.empty() && run.apps.empty()) {
    const auto own = process_environment();
    Environment file;
    if (!common.env_file.empty()) EnvFile::read(common.env_file).apply_to(file);
    // The nodes read the file themselves, and it says more than our environment.
    if (!file.contains("STEM_WORKER_COMMAND") && value_of(own, "STEM_WORKER_COMMAND").empty())
      run.command = value_of(environment, "STEMD_COMMAND");
    else if (!file.contains("STEM_WORKER_COMMAND"))
      run.command = value_of(own, "STEM_WORKER_COMMAND");
  }
  validate(run);
  return run;
}

void refuse_start_options(const Options& options) {
  if (options.run.empty() && !options.reset) return;
  throw Error(
      Exit::usage,
      "`multi " + options.action +
          "` takes no options of how a node runs; they belong to start and restart, which remember them");
}

/// What failed, below the lines: to standard error, with the words of the journal or the log.
void print_failures(const std::vector<NodeOutcome>& outcomes) {
  for (const auto& outcome : outcomes) {
    if (outcome.kind != NodeOutcome::Kind::failed) continue;
    std::cerr << "stem worker multi: " << outcome.node << ": " << outcome.message << '\n';
    for (const auto& line : outcome.log) std::cerr << "    " << line << '\n';
    if (!outcome.log_source.empty()) std::cerr << "  more: " << outcome.log_source << '\n';
  }
}

/// 0, or what the failed nodes agree on, or 1.
int exit_status_of(const std::vector<NodeOutcome>& outcomes) {
  std::optional<Exit> status;
  for (const auto& outcome : outcomes)
    if (outcome.kind == NodeOutcome::Kind::failed)
      status = !status || *status == outcome.code ? outcome.code : Exit::unhealthy;
  return static_cast<int>(status.value_or(Exit::ok));
}

int print_status(Supervisor& supervisor, const std::vector<std::string>& nodes, const Common& common) {
  const auto states = supervisor.status(nodes);
  if (common.json) {
    Json list = Json::array();
    for (const auto& state : states) list.push_back(to_json(state));
    std::cout << Json{{"supervisor", supervisor.name()}, {"nodes", std::move(list)}}.dump(
                     2, ' ', false, Json::error_handler_t::replace)
              << '\n';
  } else if (states.empty()) {
    std::cerr << "stem worker multi: no node is known; `stem worker multi start NODE` starts one\n";
  } else {
    std::cout << status_table(states);
  }
  const bool all =
      std::all_of(states.begin(), states.end(), [](const NodeState& state) { return state.running(); });
  return static_cast<int>(all ? Exit::ok : Exit::not_running);
}

int act(const Options& options, const Common& common) {
  const auto environment = load_environment(common);
  const auto nodes = nodes_of(options, environment);
  const bool starts = options.action == "start" || options.action == "restart";
  if (!starts) refuse_start_options(options);
  if (options.action == "status" && (options.no_block || options.timeout.count() >= 0))
    throw Error(Exit::usage,
                "`multi status` does not wait: --no-block and --timeout belong to start, stop and restart");
  NodeOptions run;
  if (starts) run = run_options(options, common, environment);

  SupervisorSettings settings;
  settings.kind = SupervisorSettings::kind_of(
      options.supervisor.empty() ? value_of(environment, "STEM_SUPERVISOR") : options.supervisor);
  if (options.user) settings.reach = SupervisorSettings::Reach::user;
  if (options.system) settings.reach = SupervisorSettings::Reach::system;
  auto config = Config::from(environment);
  if (!options.runtime_dir.empty())
    config.runtime_dir = std::filesystem::absolute(options.runtime_dir).lexically_normal();
  settings.runtime_dir = runtime_dir(config, environment);
  settings.environment = process_environment();
  const auto supervisor = open_supervisor(settings);
  if (common.verbose) std::cerr << "stem worker multi: nodes are managed by " << supervisor->name() << '\n';
  if (options.action == "status") return print_status(*supervisor, nodes, common);

  ActionSettings action;
  action.wait = !options.no_block;
  action.reset = options.reset;
  if (options.timeout.count() >= 0) action.timeout = options.timeout;
  const bool stopping = options.action == "stop";
  Progress progress(nodes, options.action, common.json);
  std::vector<NodeRequest> requests;
  for (const auto& node : nodes) requests.push_back({node, run});
  const auto outcomes = stopping                      ? supervisor->stop(nodes, action, progress)
                        : options.action == "restart" ? supervisor->restart(requests, action, progress)
                                                      : supervisor->start(requests, action, progress);
  if (common.json) {
    Json list = Json::array();
    for (const auto& outcome : outcomes) list.push_back(to_json(outcome, stopping));
    std::cout << Json{{"supervisor", supervisor->name()}, {"nodes", std::move(list)}}.dump(
                     2, ' ', false, Json::error_handler_t::replace)
              << '\n';
  } else {
    print_failures(outcomes);
  }
  return exit_status_of(outcomes);
}

}  // namespace

Work define_worker_multi(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("action", options->action, "start, stop, restart or status")
      ->required()
      ->check(CLI::IsMember({"start", "stop", "restart", "status"}))
      ->type_name("");
  app.add_option("nodes", options->nodes,
                 "names of the nodes; for status, none means all that are known (STEMD_NODES)")
      ->type_name("NODE");
  auto* command = app.add_option("--command,--command-line", options->run.command,
                                 "run and look after this program (STEM_WORKER_COMMAND)")
                      ->type_name("LINE");
  app.add_option("-A,--app", options->run.apps,
                 "task module, a shared object; may be repeated (STEM_WORKER_APP)")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->excludes(command);
  app.add_option("-q,--queue", options->run.queues, "queue to serve; may be repeated (STEM_WORKER_QUEUES)")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("-c,--concurrency", options->run.concurrency, "handlers at once (STEM_WORKER_CONCURRENCY)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_option("--pidfile", options->run.pidfile,
                 "pidfile; %n node, %h host, %d start time, %I process index")
      ->type_name("TEMPLATE");
  app.add_option("--logfile", options->run.logfile, "log file, same marks")->type_name("TEMPLATE");
  app.add_option("--workdir", options->run.workdir, "working directory, same marks")->type_name("TEMPLATE");
  app.add_flag("--private", options->run.private_dirs, "make run and log directories 0750 instead of 0755");
  app.add_flag("--reset", options->reset, "forget the options that the nodes were started with before");
  app.add_flag("--detach", options->detach,
               "run in the background: nodes always do, so this changes nothing");
  app.add_flag("--no-block", options->no_block, "return at once, without waiting for the nodes");
  add_duration(app, "--timeout", options->timeout,
               "how long to wait for the nodes; without systemd, from SIGTERM to SIGKILL (30s)");
  app.add_option("--supervisor", options->supervisor, "systemd, start-stop-daemon or auto (STEM_SUPERVISOR)")
      ->type_name("NAME");
  auto* user = app.add_flag("--user", options->user, "nodes of this user's own service manager");
  app.add_flag("--system", options->system, "nodes of the system's service manager")->excludes(user);
  app.add_option("--runtime-dir", options->runtime_dir,
                 "directory of pidfiles, control sockets and records (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  return [options, &common] { return act(*options, common); };
}

}  // namespace stem::cli
