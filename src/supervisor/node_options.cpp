#include "supervisor/node_options.hpp"

#include <stem/error.hpp>

#include "core/json_text.hpp"
#include "core/listen_address.hpp"
#include "core/memory_size.hpp"
#include "core/name.hpp"
#include "supervisor/unit_property.hpp"

namespace stem {
namespace {

void require_text(const char* option, const std::string& text) {
  if (!is_utf8(text) || text.find('\0') != std::string::npos)
    throw Error(Exit::usage, std::string(option) + ": '" + printable(text) + "' is not text in UTF-8");
}

void require_absolute(const char* option, const std::string& path) {
  require_text(option, path);
  if (!path.empty() && path.front() != '/')
    throw Error(Exit::usage, std::string(option) + ": '" + printable(path) + "' must be an absolute path");
}

}  // namespace

NodeOptions merged(const NodeOptions& older, const NodeOptions& newer) {
  auto all = older;
  // Each of the two says what to run: the one that is new drops the other.
  if (!newer.command.empty()) all.command = newer.command, all.apps.clear();
  if (!newer.apps.empty()) {
    all.apps = newer.apps;
    if (newer.command.empty()) all.command.clear();
  }
  if (!newer.queues.empty()) all.queues = newer.queues;
  if (!newer.broadcasts.empty()) all.broadcasts = newer.broadcasts;
  if (newer.concurrency) all.concurrency = newer.concurrency;
  if (!newer.pool.empty()) all.pool = newer.pool;
  // Limits of children go with them.
  if (newer.pool == "threads") all.max_tasks_per_child = 0, all.max_memory_per_child.clear();
  if (newer.max_tasks_per_child) all.max_tasks_per_child = newer.max_tasks_per_child;
  if (!newer.max_memory_per_child.empty()) all.max_memory_per_child = newer.max_memory_per_child;
  if (!newer.env_file.empty()) all.env_file = newer.env_file;
  if (!newer.pidfile.empty()) all.pidfile = newer.pidfile;
  if (!newer.logfile.empty()) all.logfile = newer.logfile;
  if (!newer.workdir.empty()) all.workdir = newer.workdir;
  if (!newer.metrics_listen.empty()) all.metrics_listen = newer.metrics_listen;
  if (newer.private_dirs) all.private_dirs = true;
  all.properties = merged_properties(older.properties, newer.properties);
  return all;
}

std::vector<std::string> worker_arguments(const NodeOptions& options) {
  std::vector<std::string> words;
  const auto add = [&](const char* option, const std::string& value) {
    words.emplace_back(option);
    words.push_back(value);
  };
  if (!options.command.empty()) add("--command", options.command);
  for (const auto& app : options.apps) add("--app", app);
  for (const auto& queue : options.queues) add("--queue", queue);
  for (const auto& channel : options.broadcasts) add("--broadcast", channel);
  if (options.concurrency) add("--concurrency", std::to_string(options.concurrency));
  if (!options.pool.empty()) add("--pool", options.pool);
  if (options.max_tasks_per_child) add("--max-tasks-per-child", std::to_string(options.max_tasks_per_child));
  if (!options.max_memory_per_child.empty()) add("--max-memory-per-child", options.max_memory_per_child);
  if (!options.logfile.empty()) add("--logfile", options.logfile);
  if (!options.workdir.empty()) add("--workdir", options.workdir);
  if (!options.metrics_listen.empty()) add("--metrics-listen", options.metrics_listen);
  if (options.private_dirs) words.emplace_back("--private");
  return words;
}

Json to_json(const NodeOptions& options) {
  Json json = Json::object();
  if (!options.command.empty()) json["command"] = options.command;
  if (!options.apps.empty()) json["apps"] = options.apps;
  if (!options.queues.empty()) json["queues"] = options.queues;
  if (!options.broadcasts.empty()) json["broadcasts"] = options.broadcasts;
  if (options.concurrency) json["concurrency"] = options.concurrency;
  if (!options.pool.empty()) json["pool"] = options.pool;
  if (options.max_tasks_per_child) json["maxTasksPerChild"] = options.max_tasks_per_child;
  if (!options.max_memory_per_child.empty()) json["maxMemoryPerChild"] = options.max_memory_per_child;
  if (!options.env_file.empty()) json["envFile"] = options.env_file;
  if (!options.pidfile.empty()) json["pidfile"] = options.pidfile;
  if (!options.logfile.empty()) json["logfile"] = options.logfile;
  if (!options.workdir.empty()) json["workdir"] = options.workdir;
  if (!options.metrics_listen.empty()) json["metricsListen"] = options.metrics_listen;
  if (options.private_dirs) json["private"] = true;
  if (!options.properties.empty()) json["properties"] = options.properties;
  return json;
}

NodeOptions node_options_from_json(const Json& json) {
  try {
    NodeOptions options;
    options.command = json.value("command", "");
    options.apps = json.value("apps", std::vector<std::string>{});
    options.queues = json.value("queues", std::vector<std::string>{});
    options.broadcasts = json.value("broadcasts", std::vector<std::string>{});
    options.concurrency = json.value("concurrency", 0);
    options.pool = json.value("pool", "");
    options.max_tasks_per_child = json.value("maxTasksPerChild", 0);
    options.max_memory_per_child = json.value("maxMemoryPerChild", "");
    options.env_file = json.value("envFile", "");
    options.pidfile = json.value("pidfile", "");
    options.logfile = json.value("logfile", "");
    options.workdir = json.value("workdir", "");
    options.metrics_listen = json.value("metricsListen", "");
    options.private_dirs = json.value("private", false);
    options.properties = json.value("properties", std::vector<std::string>{});
    return options;
  } catch (const Json::exception& error) {
    throw Error(Exit::data, std::string("remembered options are malformed: ") + error.what());
  }
}

void validate(const NodeOptions& options) {
  require_text("--command", options.command);
  for (const auto& app : options.apps) require_text("--app", app);
  for (const auto& queue : options.queues) require_name("queue", queue);
  for (const auto& channel : options.broadcasts) require_name("broadcast channel", channel);
  if (options.concurrency < 0 || options.concurrency > 1024)
    throw Error(Exit::usage, "--concurrency " + std::to_string(options.concurrency) +
                                 " is out of range; it goes from 1 to 1024");
  if (!options.pool.empty() && options.pool != "threads" && options.pool != "processes")
    throw Error(Exit::usage, "--pool '" + printable(options.pool) + "' is neither threads nor processes");
  if (options.max_tasks_per_child < 0)
    throw Error(Exit::usage,
                "--max-tasks-per-child " + std::to_string(options.max_tasks_per_child) + " is below 1");
  if (!options.max_memory_per_child.empty()) parse_memory_size(options.max_memory_per_child);
  if (options.pool == "threads" && (options.max_tasks_per_child || !options.max_memory_per_child.empty()))
    throw Error(
        Exit::usage,
        std::string(options.max_tasks_per_child ? "--max-tasks-per-child" : "--max-memory-per-child") +
            " is for a pool of processes; threads have no children: say --pool processes");
  require_absolute("--env-file", options.env_file);
  require_absolute("--pidfile", options.pidfile);
  require_absolute("--logfile", options.logfile);
  require_absolute("--workdir", options.workdir);
  if (!options.metrics_listen.empty()) ListenAddress::from(options.metrics_listen);
  for (const auto& property : options.properties) check_unit_property(property);
}

}  // namespace stem
