#include "supervisor/starting_node.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "service/env_file.hpp"
#include "service/node_template.hpp"
#include "service/pidfile.hpp"
#include "supervisor/log_file.hpp"
#include "supervisor/unit_facts.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

/// A worker gives up by itself after five minutes without its broker; it shall be the one to say so.
constexpr Duration start_patience = std::chrono::minutes{6};
constexpr std::size_t excerpt_lines = 10;

off_t size_of(const std::string& file) {
  struct stat status {};
  return lstat(file.c_str(), &status) == 0 ? status.st_size : 0;
}

std::string escape_marks(const std::string& path) {
  std::string text;
  for (const char c : path) text += c == '%' ? "%%" : std::string(1, c);
  return text;
}

}  // namespace

StartingNode::StartingNode(const DetachedSettings& settings, const NodeRecords& records,
                           const NodeRequest& request, const ActionSettings& action)
    : settings_(settings), records_(records) {
  outcome_.node = request.node;
  try {
    lock_ = records.lock(request.node);
    begin(request, action);
  } catch (const Error& error) {
    fail(error.code(), error.what());
  }
}

void StartingNode::finish() {
  const auto result = launch_->result();
  launch_.reset();
  using R = Launch::Result::Kind;
  if (result.kind == R::ready) {
    // A shim's program may have spoken; the worker is who holds the pidfile.
    const auto state = read_pidfile(record_.pidfile);
    outcome_.pid = state.kind == PidfileState::Kind::live ? state.pid : result.pid;
    return took();
  }
  if (result.kind == R::late)
    fail(Exit::try_again, "was not ready in time, and was ended; see its log, or give --timeout more");
  if (result.kind == R::broken)
    fail(Exit::software, "was not started: the process that starts it ended unexpectedly");
  if (result.kind == R::ended) {
    UnitFacts facts;
    facts.result = WIFSIGNALED(result.status) ? "signal" : "exit-code";
    facts.exit_status = WIFSIGNALED(result.status) ? WTERMSIG(result.status) : WEXITSTATUS(result.status);
    const bool ours = WIFEXITED(result.status) && facts.exit_status >= 64 && facts.exit_status <= 78;
    fail(ours ? static_cast<Exit>(facts.exit_status) : Exit::unhealthy,
         "did not start: " + describe_failure(facts));
  }
  outcome_.log = last_lines(record_.logfile, log_size_, excerpt_lines);
  outcome_.log_source = record_.logfile;
}

void StartingNode::let_go() {
  // By name, since helpers of other nodes have inherited the descriptor.
  if (lock_) flock(lock_.get(), LOCK_UN);
  lock_.reset();
}

void StartingNode::begin(const NodeRequest& request, const ActionSettings& action) {
  if (!request.options.properties.empty())
    throw Error(Exit::usage,
                "--property sets limits of a systemd unit; without systemd, use ulimit, nice or cgroups "
                "around the worker");
  const auto former = records_.pidfile_of(request.node);
  record_ = plan(request, action.reset);
  for (const auto& path : {former, record_.pidfile}) {
    const auto state = read_pidfile(path);
    if (state.running()) {
      outcome_.kind = Kind::unchanged;
      outcome_.pid = state.pid;
      outcome_.message = "is running already";
      const auto known = records_.read(request.node);
      if (!known || !(known->options == record_.options))
        outcome_.message +=
            "; `stem worker multi restart " + request.node + "` with these options makes it take them";
      return took();
    }
    if (state.kind == PidfileState::Kind::foreign || state.kind == PidfileState::Kind::forbidden)
      throw Error(Exit::no_permission, "the pidfile " + path + " cannot be used: " + state.detail);
  }
  if (!record_.options.env_file.empty()) EnvFile::read(record_.options.env_file);
  const auto owner = settings_.owner();
  const bool is_private = record_.options.private_dirs;
  make_directories(settings_.runtime_dir, owner, is_private);
  make_parent_directories(record_.pidfile, owner, is_private);
  make_parent_directories(record_.logfile, owner, is_private);
  make_log(owner);
  make_state_dir(owner);
  if (!settings_.home_dir.empty()) make_directories(settings_.home_dir, owner, true);
  records_.write(request.node, record_);

  launch_.emplace(settings_.backgrounder, order(action.timeout.value_or(start_patience)));
  if (!action.wait) {
    // The helper goes on without us; nobody reads what it reports.
    launch_.reset();
    outcome_.kind = Kind::queued;
    took();
  }
}

/// So that the shell can write there, and we know what this start adds.
void StartingNode::make_log(const Owner& owner) {
  const Descriptor log(open(record_.logfile.c_str(),
                            O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                            0640));
  struct stat status {};
  if (!log || fstat(log.get(), &status) != 0)
    throw Error(
        errno == EACCES || errno == ELOOP || errno == EPERM ? Exit::no_permission : Exit::cannot_create,
        "cannot write the log file " + record_.logfile + ": " + std::strerror(errno) +
            "; give it to the worker's user, or name another with --logfile");
  if (status.st_size == 0 && status.st_uid == geteuid()) {
    fchmod(log.get(), 0640);  // whatever the umask
    if (owner.user != geteuid()) (void)!fchown(log.get(), owner.user, owner.group);
  }
  log_size_ = size_of(record_.logfile);
}

/// As StateDirectory= of the unit does; the group may enqueue.
void StartingNode::make_state_dir(const Owner& owner) {
  struct stat status {};
  const auto& path = settings_.state_dir;
  // One that somebody made otherwise is theirs, and may not even be used.
  if (!path.starts_with("/var/lib/") || lstat(path.c_str(), &status) == 0) return;
  make_directories(path, owner, true);
  if (chmod(path.c_str(), 02770) != 0)
    throw Error(Exit::cannot_create,
                "cannot set the mode of " + path + ": " + std::strerror(errno) + "; make it by hand");
}

void StartingNode::fail(Exit code, const std::string& message) {
  outcome_.kind = Kind::failed;
  outcome_.code = code;
  outcome_.message = message;
  took();
}
void StartingNode::took() {
  outcome_.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began_);
}

NodeRecord StartingNode::plan(const NodeRequest& request, bool reset) const {
  const auto former = records_.read(request.node);
  NodeRecord record;
  record.options = merged(former && !reset ? former->options : NodeOptions{}, request.options);
  const auto marks = NodeTemplate::now(request.node);
  const auto& options = record.options;
  record.pidfile = options.pidfile.empty() ? settings_.runtime_dir + "/" + request.node + ".pid"
                                           : marks.expand(options.pidfile);
  record.logfile = options.logfile.empty() ? settings_.log_dir + "/" + request.node + ".log"
                                           : marks.expand(options.logfile);
  return record;
}

LaunchOrder StartingNode::order(Duration timeout) const {
  const auto& node = outcome_.node;
  LaunchOrder order;
  // Marks have been replaced, once: the record must name the very files that the worker uses.
  auto options = record_.options;
  options.logfile = escape_marks(record_.logfile);
  order.command = {settings_.program,
                   "worker",
                   "start",
                   "--node",
                   node,
                   "--pidfile",
                   escape_marks(record_.pidfile),
                   "--runtime-dir",
                   settings_.runtime_dir};
  if (!options.env_file.empty()) order.command.insert(order.command.end(), {"--env-file", options.env_file});
  for (auto& word : worker_arguments(options)) order.command.push_back(std::move(word));
  order.environment = settings_.environment;
  // What the worker is told on its command line is not to be contradicted by the caller's own worker.
  for (const auto* key : {"STEM_WORKER_NODE", "STEM_WORKER_PIDFILE", "STEM_WORKER_LOGFILE"})
    order.environment.erase(key);
  order.no_pidfile = settings_.runtime_dir + "/multi/" + node + ".none";
  order.output = record_.logfile;
  order.user = settings_.user;
  order.group = settings_.group;
  order.timeout = timeout;
  return order;
}

}  // namespace stem
