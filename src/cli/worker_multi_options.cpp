#include "cli/worker_multi_options.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "cli/commands.hpp"
#include "core/name.hpp"
#include "service/env_file.hpp"
#include "worker/module.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t shown_lines = 100;
constexpr std::size_t shown_lines_of_follow = 10;
constexpr int most_tasks = 1'000'000'000;

/// As a worker sees it that is not started in our directory.
void make_absolute(std::string& path) {
  if (!path.empty() && path.front() != '/') path = std::filesystem::absolute(path).lexically_normal();
}

std::string value_of(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
}

std::vector<std::string> words_of(const std::string& text, const char* separators) {
  std::vector<std::string> words;
  for (std::size_t at = 0; (at = text.find_first_not_of(separators, at)) != std::string::npos;) {
    const auto end = std::min(text.find_first_of(separators, at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

bool takes_run_options(const std::string& action) {
  return action == "start" || action == "restart" || action == "enable";
}

int number_of(const std::string& text, const std::string& option, int most) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1 || number > most)
    throw Error(Exit::usage,
                option + ": '" + printable(text) + "' is no number from 1 to " + std::to_string(most));
  return number;
}

/// Adds one option to what nodes of one pattern run with.
void add_option(NodeOptions& run, const OptionOfNodes& said) {
  const auto& option = said.option;
  if (option == "c" || option == "concurrency") {
    run.concurrency = number_of(said.value, "-c:" + said.pattern, 1024);
  } else if (option == "pool") {
    run.pool = said.value;
  } else if (option == "max-tasks-per-child") {
    run.max_tasks_per_child = number_of(said.value, "--max-tasks-per-child:" + said.pattern, most_tasks);
  } else if (option == "max-memory-per-child") {
    run.max_memory_per_child = said.value;
  } else if (option == "q" || option == "queue") {
    for (auto& queue : words_of(said.value, ",")) run.queues.push_back(std::move(queue));
  } else if (option == "b" || option == "broadcast") {
    for (auto& channel : words_of(said.value, ",")) run.broadcasts.push_back(std::move(channel));
  } else if (option == "A" || option == "app") {
    run.apps.push_back(said.value);
  } else if (option == "command" || option == "command-line") {
    run.command = said.value;
  } else if (option == "property") {
    run.properties.push_back(said.value);
  } else if (option == "pidfile") {
    run.pidfile = said.value;
  } else if (option == "logfile") {
    run.logfile = said.value;
  } else if (option == "workdir") {
    run.workdir = said.value;
  } else if (option == "metrics-listen") {
    run.metrics_listen = said.value;
  } else if (option == "env-file") {
    run.env_file = said.value;
  } else {
    throw Error(
        Exit::usage,
        "'" + printable(option) +
            "' cannot be said for nodes of a name; -A, -b, -c, -q, --command, --env-file, --logfile, "
            "--max-memory-per-child, --max-tasks-per-child, --metrics-listen, --pidfile, --pool, --property "
            "and --workdir can");
  }
}

bool names(const std::string& pattern, const std::string& node) {
  const auto globs = words_of(pattern, ",");
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return fnmatch(glob.c_str(), node.c_str(), 0) == 0; });
}

OptionOfNodes option_of_nodes(const std::string& text) {
  const auto colon = text.find(':');
  const auto equals = text.find('=', colon);
  return {text.substr(0, colon), text.substr(colon + 1, equals - colon - 1), text.substr(equals + 1)};
}

/// What is said for nodes of a name: a pattern, and all its options, in the order of the patterns.
std::vector<std::pair<std::string, NodeOptions>> by_pattern(const MultiOptions& options,
                                                            const std::vector<std::string>& nodes) {
  std::vector<std::pair<std::string, NodeOptions>> all;
  for (const auto& text : options.run_of_nodes) {
    const auto said = option_of_nodes(text);
    if (std::none_of(nodes.begin(), nodes.end(),
                     [&](const std::string& node) { return names(said.pattern, node); }))
      throw Error(Exit::usage, "no node of this call is called '" + printable(said.pattern) +
                                   "', for which '" + printable(said.option) + "' is said");
    auto at =
        std::find_if(all.begin(), all.end(), [&](const auto& known) { return known.first == said.pattern; });
    if (at == all.end()) at = all.emplace(all.end(), said.pattern, NodeOptions{});
    add_option(at->second, said);
  }
  return all;
}

/// As a worker is to be told: paths that do not depend on where we are.
void settle(NodeOptions& run) {
  for (auto* path : {&run.env_file, &run.pidfile, &run.logfile, &run.workdir}) make_absolute(*path);
  for (auto& app : run.apps) {
    app = module_path(app);
    make_absolute(app);
  }
  if (!run.env_file.empty()) EnvFile::read(run.env_file);
  validate(run);
}

}  // namespace

void add_multi_options(CLI::App& app, MultiOptions& options) {
  app.add_option("action", options.action, "start, stop, restart, reload, status, enable, disable or logs")
      ->required()
      ->check(CLI::IsMember({"start", "stop", "restart", "reload", "status", "enable", "disable", "logs"}))
      ->type_name("");
  app.add_option("nodes", options.nodes,
                 "names of the nodes; for status, none means all that are known (STEMD_NODES)")
      ->type_name("NODE");
  app.add_flag("--all", options.all, "every known node, instead of names");
  auto* command = app.add_option("--command,--command-line", options.run.command,
                                 "run and look after this program (STEM_WORKER_COMMAND)")
                      ->type_name("LINE");
  app.add_option("-A,--app", options.run.apps,
                 "task module, a shared object; may be repeated (STEM_WORKER_APP)")
      ->type_name("FILE")
      ->allow_extra_args(false)
      ->excludes(command);
  app.add_option("-q,--queue", options.run.queues, "queue to serve; may be repeated (STEM_WORKER_QUEUES)")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("-b,--broadcast", options.run.broadcasts,
                 "broadcast channel to listen on; may be repeated (STEM_WORKER_BROADCASTS)")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("-c,--concurrency", options.run.concurrency, "handlers at once (STEM_WORKER_CONCURRENCY)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  app.add_option("--pool", options.run.pool,
                 "where handlers run: threads, or processes, which may crash (STEM_WORKER_POOL)")
      ->type_name("KIND")
      ->check(CLI::IsMember({"threads", "processes"}).description(""));
  app.add_option("--max-tasks-per-child", options.run.max_tasks_per_child,
                 "a process of the pool is replaced after so many jobs (STEM_WORKER_MAX_TASKS_PER_CHILD)")
      ->type_name("N")
      ->check(CLI::Range(1, most_tasks));
  app.add_option("--max-memory-per-child", options.run.max_memory_per_child,
                 "and after a job that left it larger: KiB, 512M, 2G (STEM_WORKER_MAX_MEMORY_PER_CHILD)")
      ->type_name("SIZE");
  app.add_option("--pidfile", options.run.pidfile,
                 "pidfile; %n node, %h host, %d start time, %I process index")
      ->type_name("TEMPLATE");
  app.add_option("--logfile", options.run.logfile, "log file, same marks")->type_name("TEMPLATE");
  app.add_option("--workdir", options.run.workdir, "working directory, same marks")->type_name("TEMPLATE");
  app.add_option("--metrics-listen", options.run.metrics_listen,
                 "serve metrics: a port, ADDRESS:PORT or unix:/PATH, same marks (STEM_METRICS_LISTEN)")
      ->type_name("ADDRESS");
  app.add_flag("--private", options.run.private_dirs, "make run and log directories 0750 instead of 0755");
  app.add_option("--property", options.run.properties,
                 "limit of the unit, such as MemoryMax=512M; may be repeated; an empty value forgets it")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--reset", options.reset, "forget the options that the nodes were started with before");
  app.add_flag("--rolling", options.rolling, "restart: one after the other, each once the last one is ready");
  app.add_flag("--detach", options.detach, "run in the background: nodes always do, so this changes nothing");
  app.add_flag("--no-block", options.no_block, "return at once, without waiting for the nodes");
  add_duration(app, "--timeout", options.timeout,
               "how long to wait for the nodes; without systemd, from SIGTERM to SIGKILL (30s)");
  app.add_flag("-f,--follow", options.follow, "logs: go on with what is written from now on, until Ctrl-C");
  app.add_option("-n,--lines", options.lines, "logs: so many of the past, or `all` (100; with -f 10)")
      ->type_name("N");
  app.add_option("--supervisor", options.supervisor, "systemd, start-stop-daemon or auto (STEM_SUPERVISOR)")
      ->type_name("NAME");
  auto* user = app.add_flag("--user", options.user, "nodes of this user's own service manager");
  app.add_flag("--system", options.system, "nodes of the system's service manager")->excludes(user);
  app.add_option("--host", options.host, "nodes of another machine, over ssh, as systemctl -H")
      ->type_name("HOST");
  app.add_option("--runtime-dir", options.runtime_dir,
                 "directory of pidfiles, control sockets and records (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_option("--option-of", options.run_of_nodes)->group("")->allow_extra_args(false);
  app.footer(
      "-A, -c, -q, --command, --env-file, --logfile, --max-memory-per-child, --max-tasks-per-child,\n"
      "--metrics-listen, --pidfile, --pool, --property and --workdir can be said for nodes of a name, or of "
      "names:\n"
      "`-c:web-1 8`, `-q:web-*,api mail`. Ranges are left to the shell: "
      "`web-{1..4}`.\n\n" +
      app.get_footer());
}

void check_multi_options(const MultiOptions& options) {
  const auto& action = options.action;
  const bool acts = action == "start" || action == "stop" || action == "restart" || action == "reload";
  const auto refuse = [&](const std::string& why) {
    throw Error(Exit::usage, "`multi " + action + "` " + why);
  };
  if (!takes_run_options(action) && (!options.run.empty() || !options.run_of_nodes.empty() || options.reset))
    refuse(
        "takes no options of how a node runs; they belong to start, restart and enable, which remember them");
  if (!acts && (options.no_block || options.timeout.count() >= 0))
    refuse("does not wait: --no-block and --timeout belong to start, stop, restart and reload");
  if (options.rolling && action != "restart") refuse("cannot be --rolling; that belongs to restart");
  if (options.rolling && options.no_block) refuse("--rolling waits for each node, so it excludes --no-block");
  if (action != "logs" && (options.follow || !options.lines.empty()))
    refuse("takes no -f and -n; they belong to logs");
  if (options.all && !options.nodes.empty()) refuse("takes names or --all, not both");
}

std::vector<std::string> named_nodes(const MultiOptions& options, const Environment& environment) {
  const bool may_be_none = options.all || options.action == "status";
  auto given = options.nodes;
  if (!may_be_none)
    for (const char* key : {"STEMD_NODES", "STEM_WORKER_NODES"})
      if (given.empty()) given = words_of(value_of(environment, key), " \t\n,");
  std::vector<std::string> nodes;
  for (const auto& node : given) {
    if (node.find('{') != std::string::npos && node.find('}') != std::string::npos)
      throw Error(Exit::usage, "node '" + printable(node) +
                                   "': ranges are the shell's (bash, zsh), and this shell left it as it "
                                   "is; name the nodes one by one");
    require_node_name(node);
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  if (nodes.empty() && !may_be_none)
    throw Error(Exit::usage, "no node is named; say `stem worker multi " + options.action +
                                 " NODE…`, --all for every known one, or set STEMD_NODES");
  return nodes;
}

std::vector<NodeRequest> requests_of(const MultiOptions& options, const std::vector<std::string>& nodes,
                                     const Common& common, const Environment& environment) {
  auto run = options.run;
  run.env_file = common.env_file;
  const auto special = by_pattern(options, nodes);
  const auto own = process_environment();
  std::vector<NodeRequest> requests;
  for (const auto& node : nodes) {
    auto all = run;
    for (const auto& [pattern, said] : special)
      if (names(pattern, node)) all = merged(all, said);
    settle(all);
    const bool runs = options.action == "start" || options.action == "restart";
    if (runs && options.host.empty() && all.command.empty() && all.apps.empty()) {
      // The node reads its file itself, and it says more than our environment.
      Environment file;
      if (!all.env_file.empty()) EnvFile::read(all.env_file).apply_to(file);
      if (!file.contains("STEM_WORKER_COMMAND")) {
        const auto said = value_of(own, "STEM_WORKER_COMMAND");
        all.command = said.empty() ? value_of(environment, "STEMD_COMMAND") : said;
        validate(all);
      }
    }
    requests.push_back({node, std::move(all)});
  }
  return requests;
}

LogQuery log_query(const MultiOptions& options) {
  LogQuery query;
  query.follow = options.follow;
  query.last = options.follow ? shown_lines_of_follow : shown_lines;
  if (options.lines == "all") {
    query.last.reset();
  } else if (const auto& text = options.lines; !text.empty()) {
    std::size_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc{} || end != text.data() + text.size())
      throw Error(Exit::usage, "-n '" + printable(text) + "' is no number, nor `all`");
    query.last = count;
  }
  return query;
}

std::vector<std::string> prepare_worker_multi(std::vector<std::string> arguments) {
  std::vector<std::string> prepared;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    const auto& word = *at;
    if (word == "--") {
      prepared.insert(prepared.end(), at, arguments.end());
      break;
    }
    // `-c:web-1 8` and `--concurrency:web-1=8`; with a value of its own a long option is `--command=a:b`.
    const auto colon = word.find(':');
    const bool is_short = word.size() > 2 && word[0] == '-' && word[1] != '-' && colon == 2;
    const bool is_long = word.starts_with("--") && colon != std::string::npos && colon < word.find('=');
    if (!is_short && !is_long) {
      prepared.push_back(word);
      continue;
    }
    const auto equals = word.find('=', colon);
    const auto option = word.substr(is_long ? 2 : 1, colon - (is_long ? 2 : 1));
    const auto pattern = word.substr(colon + 1, equals - colon - 1);
    if (pattern.empty())
      throw Error(Exit::usage,
                  "'" + printable(word) + "' names no node; it is " + word.substr(0, colon) + ":NODE VALUE");
    if (equals == std::string::npos && at + 1 == arguments.end())
      throw Error(Exit::usage, "'" + printable(word) + "' needs a value behind it");
    const auto value = equals == std::string::npos ? *++at : word.substr(equals + 1);
    std::string one = "--option-of=";
    prepared.push_back(one.append(option).append(":").append(pattern).append("=").append(value));
  }
  return prepared;
}

}  // namespace stem::cli
