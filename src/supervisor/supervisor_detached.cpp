#include "supervisor/supervisor_detached.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <future>
#include <set>
#include <thread>

#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/env_file.hpp"
#include "service/node_template.hpp"
#include "service/pidfile.hpp"
#include "supervisor/process_facts.hpp"
#include "supervisor/unit_facts.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

/// A worker gives up by itself after five minutes without its broker; it shall be the one to say so.
constexpr Duration start_patience = std::chrono::minutes{6};
constexpr Duration stop_patience = std::chrono::seconds{30};
/// SIGKILL is not to be refused, but a process in uninterruptible sleep takes its time.
constexpr Duration kill_patience = std::chrono::seconds{5};
constexpr Duration answer_patience = std::chrono::milliseconds{800};
constexpr std::size_t excerpt_lines = 10;
constexpr off_t excerpt_bytes = 16384;

std::string setting(const Environment& environment, const char* key) {
  const auto at = environment.find(key);
  return at == environment.end() ? std::string{} : at->second;
}

/// The last lines of what `file` got beyond `from`.
std::vector<std::string> tail(const std::string& file, off_t from) {
  const Descriptor log(open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!log || fstat(log.get(), &status) != 0) return {};
  from = std::max(from, status.st_size - excerpt_bytes);
  std::string text(static_cast<std::size_t>(std::max<off_t>(status.st_size - from, 0)), '\0');
  const auto got = pread(log.get(), text.data(), text.size(), from);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    for (char& c : line)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    if (!line.empty()) lines.push_back(std::move(line));
    at = end + 1;
  }
  if (lines.size() > excerpt_lines)
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(excerpt_lines));
  return lines;
}

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

SupervisorDetached::Settings SupervisorDetached::Settings::usual(const std::string& runtime_dir,
                                                                 const Environment& environment) {
  Settings settings;
  settings.runtime_dir = runtime_dir;
  settings.environment = environment;
  if (geteuid() == 0) {
    settings.log_dir = "/var/log/stem";
    settings.user = setting(environment, "STEMD_USER");
    settings.group = setting(environment, "STEMD_GROUP");
    if (!settings.group.empty() && settings.user.empty())
      throw Error(Exit::config, "STEMD_GROUP is set without STEMD_USER; set both, or neither");
  } else {
    const auto state = setting(environment, "XDG_STATE_HOME"), home = setting(environment, "HOME");
    settings.log_dir = (state.starts_with('/')  ? state
                        : home.starts_with('/') ? home + "/.local/state"
                                                : runtime_dir) +
                       "/stem/log";
  }
  std::error_code error;
  settings.program = std::filesystem::read_symlink("/proc/self/exe", error);
  settings.backgrounder = Backgrounder::find();
  return settings;
}

SupervisorDetached::SupervisorDetached(Settings settings)
    : settings_(std::move(settings)), records_(settings_.runtime_dir) {}

Owner SupervisorDetached::owner() const {
  return settings_.user.empty() ? Owner::self() : Owner::named(settings_.user, settings_.group);
}

std::string SupervisorDetached::pidfile_of(const std::string& node) const {
  const auto record = records_.read(node);
  return record && !record->pidfile.empty() ? record->pidfile : settings_.runtime_dir + "/" + node + ".pid";
}

NodeRecord SupervisorDetached::plan(const NodeRequest& request, bool reset) const {
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

LaunchOrder SupervisorDetached::order(const std::string& node, const NodeRecord& record,
                                      Duration timeout) const {
  LaunchOrder order;
  // Marks have been replaced, once: the record must name the very files that the worker uses.
  auto options = record.options;
  options.logfile = escape_marks(record.logfile);
  order.command = {settings_.program,
                   "worker",
                   "start",
                   "--node",
                   node,
                   "--pidfile",
                   escape_marks(record.pidfile),
                   "--runtime-dir",
                   settings_.runtime_dir};
  if (!options.env_file.empty()) order.command.insert(order.command.end(), {"--env-file", options.env_file});
  for (auto& word : worker_arguments(options)) order.command.push_back(std::move(word));
  order.environment = settings_.environment;
  // What the worker is told on its command line is not to be contradicted by the caller's own worker.
  for (const auto* key : {"STEM_WORKER_NODE", "STEM_WORKER_PIDFILE", "STEM_WORKER_LOGFILE"})
    order.environment.erase(key);
  order.no_pidfile = settings_.runtime_dir + "/multi/" + node + ".none";
  order.output = record.logfile;
  order.user = settings_.user;
  order.group = settings_.group;
  order.timeout = timeout;
  return order;
}

/// One node on its way up, with its lock.
class SupervisorDetached::Starting {
 public:
  Starting(const SupervisorDetached& supervisor, const NodeRequest& request, const ActionSettings& settings)
      : supervisor_(supervisor) {
    outcome_.node = request.node;
    began_ = std::chrono::steady_clock::now();
    try {
      lock_ = supervisor.records_.lock(request.node);
      begin(request, settings);
    } catch (const Error& error) {
      fail(error.code(), error.what());
    }
  }

  /// -1 once outcome() is there.
  int fd() const { return launch_ ? launch_->fd() : -1; }
  const NodeOutcome& outcome() const { return outcome_; }

  /// fd() polls readable.
  void finish() {
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
    outcome_.log = tail(record_.logfile, log_size_);
    outcome_.log_source = record_.logfile;
  }

 private:
  void begin(const NodeRequest& request, const ActionSettings& settings) {
    const auto former = supervisor_.pidfile_of(request.node);
    record_ = supervisor_.plan(request, settings.reset);
    for (const auto& path : {former, record_.pidfile}) {
      const auto state = read_pidfile(path);
      if (state.running()) {
        outcome_.kind = Kind::unchanged;
        outcome_.pid = state.pid;
        outcome_.message = "is running already";
        const auto known = supervisor_.records_.read(request.node);
        if (!known || !(known->options == record_.options))
          outcome_.message +=
              "; `stem worker multi restart " + request.node + "` with these options makes it take them";
        return took();
      }
      if (state.kind == PidfileState::Kind::foreign || state.kind == PidfileState::Kind::forbidden)
        throw Error(Exit::no_permission, "the pidfile " + path + " cannot be used: " + state.detail);
    }
    if (!record_.options.env_file.empty()) EnvFile::read(record_.options.env_file);
    const auto owner = supervisor_.owner();
    const bool is_private = record_.options.private_dirs;
    make_directories(supervisor_.settings_.runtime_dir, owner, is_private);
    make_parent_directories(record_.pidfile, owner, is_private);
    make_parent_directories(record_.logfile, owner, is_private);
    make_log(owner);
    supervisor_.records_.write(request.node, record_);

    auto order = supervisor_.order(request.node, record_, settings.timeout.value_or(start_patience));
    launch_.emplace(supervisor_.settings_.backgrounder, order);
    if (!settings.wait) {
      // The helper goes on without us; nobody reads what it reports.
      launch_.reset();
      outcome_.kind = Kind::queued;
      took();
    }
  }

  /// So that the shell can write there, and we know what this start adds.
  void make_log(const Owner& owner) {
    const Descriptor log(open(record_.logfile.c_str(),
                              O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                              0640));
    struct stat status {};
    if (!log || fstat(log.get(), &status) != 0)
      throw Error(
          errno == EACCES || errno == ELOOP || errno == EPERM ? Exit::no_permission : Exit::cannot_create,
          "cannot write the log file " + record_.logfile + ": " + std::strerror(errno) +
              "; give it to the worker's user, or name another with --logfile");
    if (status.st_size == 0 && status.st_uid == geteuid() && owner.user != geteuid())
      (void)!fchown(log.get(), owner.user, owner.group);
    log_size_ = size_of(record_.logfile);
  }

  void fail(Exit code, const std::string& message) {
    outcome_.kind = Kind::failed;
    outcome_.code = code;
    outcome_.message = message;
    took();
  }
  void took() { outcome_.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began_); }

  const SupervisorDetached& supervisor_;
  NodeOutcome outcome_;
  SteadyTime began_;
  Descriptor lock_;
  NodeRecord record_;
  off_t log_size_ = 0;
  std::optional<Launch> launch_;
};

/// One node on its way down, with its lock.
class SupervisorDetached::Stopping {
 public:
  Stopping(const SupervisorDetached& supervisor, const std::string& node, const ActionSettings& settings) {
    outcome_.node = node;
    began_ = std::chrono::steady_clock::now();
    patience_ = settings.timeout.value_or(stop_patience);
    try {
      lock_ = supervisor.records_.lock(node);
      pidfile_ = supervisor.pidfile_of(node);
      const auto state = read_pidfile(pidfile_);
      if (state.kind == PidfileState::Kind::foreign || state.kind == PidfileState::Kind::forbidden)
        throw Error(Exit::no_permission, "the pidfile " + pidfile_ + " cannot be used: " + state.detail);
      auto holder = PidfileHolder::open(pidfile_);
      if (!holder) {
        remove_stale_pidfile(pidfile_);
        outcome_.kind = Kind::unchanged;
        outcome_.message = "is stopped already";
      } else if (holder->signal(SIGTERM); settings.wait) {
        holder_ = std::move(holder);
        deadline_ = began_ + patience_;
      } else {
        outcome_.kind = Kind::queued;
      }
    } catch (const Error& error) {
      fail(error.code(), error.what());
    }
    took();
  }

  int fd() const { return holder_ ? holder_->fd() : -1; }
  SteadyTime deadline() const { return deadline_; }
  const NodeOutcome& outcome() const { return outcome_; }

  /// fd() polls readable: it has ended.
  void finish() {
    holder_.reset();
    // Others of its group, killed with it, may have inherited the lock and end a moment later. Nothing tells
    // of that.
    for (int i = 0; killed_ && i < 100 && read_pidfile(pidfile_).running(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    remove_stale_pidfile(pidfile_);
    if (killed_)
      outcome_.message = "did not end within " + format_duration(patience_) +
                         " and was killed; its jobs are taken over when their leases end";
    took();
  }

  /// deadline() has passed.
  void insist() {
    try {
      if (!killed_) {
        killed_ = true;
        deadline_ = std::chrono::steady_clock::now() + kill_patience;
        holder_->signal_group(SIGKILL);
        return;
      }
      fail(Exit::try_again, "process " + std::to_string(holder_->pid()) +
                                " does not end even by SIGKILL; the kernel holds it (a disk or network file "
                                "system that hangs?)");
    } catch (const Error& error) {
      fail(error.code(), error.what());
    }
    holder_.reset();
  }

 private:
  void fail(Exit code, const std::string& message) {
    outcome_.kind = Kind::failed;
    outcome_.code = code;
    outcome_.message = message;
    took();
  }
  void took() { outcome_.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began_); }

  NodeOutcome outcome_;
  SteadyTime began_, deadline_;
  Duration patience_;
  Descriptor lock_;
  std::string pidfile_;
  std::optional<PidfileHolder> holder_;
  bool killed_ = false;
};

namespace {

/// Waits until one of `fds` (-1 = none) polls readable or the deadline has passed; which ones do.
std::vector<bool> wait_for(const std::vector<int>& fds, std::optional<SteadyTime> deadline) {
  std::vector<pollfd> events;
  for (const int fd : fds) events.push_back({fd, POLLIN, 0});
  int timeout = -1;
  if (deadline) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now()).count();
    timeout = static_cast<int>(std::clamp<long long>(left, 0, 60'000));
  }
  while (poll(events.data(), events.size(), timeout) < 0 && errno == EINTR) {
  }
  std::vector<bool> ready;
  for (const auto& event : events) ready.push_back(event.revents != 0);
  return ready;
}

/// Locks are taken in one order by all, whatever the order on the command line, so that two calls never wait
/// for each other.
template <typename Item, typename Name>
std::vector<std::size_t> lock_order(const std::vector<Item>& items, Name name) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return name(items[a]) < name(items[b]); });
  return order;
}

}  // namespace

/// Before the first lock of a node, which would make it root's.
void SupervisorDetached::make_runtime_dir(bool is_private) const {
  const auto worker = owner();
  try {
    make_directories(settings_.runtime_dir, worker, is_private);
  } catch (const Error&) {
    // Each node that needs it says so.
  }
}

std::vector<NodeOutcome> SupervisorDetached::start(const std::vector<NodeRequest>& nodes,
                                                   const ActionSettings& settings, ActionWatcher& watcher) {
  watcher.began();
  make_runtime_dir(std::any_of(nodes.begin(), nodes.end(),
                               [](const NodeRequest& request) { return request.options.private_dirs; }));
  std::vector<std::unique_ptr<Starting>> all(nodes.size());
  for (const auto i : lock_order(nodes, [](const NodeRequest& request) { return request.node; })) {
    all[i] = std::make_unique<Starting>(*this, nodes[i], settings);
    if (all[i]->fd() < 0) watcher.ended(all[i]->outcome());
  }
  for (;;) {
    std::vector<int> fds;
    for (const auto& one : all) fds.push_back(one->fd());
    if (std::all_of(fds.begin(), fds.end(), [](int fd) { return fd < 0; })) break;
    const auto ready = wait_for(fds, std::nullopt);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (!ready[i]) continue;
      all[i]->finish();
      watcher.ended(all[i]->outcome());
    }
  }
  std::vector<NodeOutcome> outcomes;
  for (const auto& one : all) outcomes.push_back(one->outcome());
  return outcomes;
}

std::vector<NodeOutcome> SupervisorDetached::stop(const std::vector<std::string>& nodes,
                                                  const ActionSettings& settings, ActionWatcher& watcher) {
  watcher.began();
  make_runtime_dir(false);
  std::vector<std::unique_ptr<Stopping>> all(nodes.size());
  for (const auto i : lock_order(nodes, [](const std::string& node) { return node; })) {
    all[i] = std::make_unique<Stopping>(*this, nodes[i], settings);
    if (all[i]->fd() < 0) watcher.ended(all[i]->outcome());
  }
  for (;;) {
    std::vector<int> fds;
    std::optional<SteadyTime> next;
    for (const auto& one : all) {
      fds.push_back(one->fd());
      if (one->fd() >= 0 && (!next || one->deadline() < *next)) next = one->deadline();
    }
    if (!next) break;
    const auto ready = wait_for(fds, next);
    const auto now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (fds[i] < 0) continue;
      if (ready[i])
        all[i]->finish();
      else if (now >= all[i]->deadline())
        all[i]->insist();
      if (all[i]->fd() < 0) watcher.ended(all[i]->outcome());
    }
  }
  std::vector<NodeOutcome> outcomes;
  for (const auto& one : all) outcomes.push_back(one->outcome());
  return outcomes;
}

std::vector<NodeOutcome> SupervisorDetached::restart(const std::vector<NodeRequest>& nodes,
                                                     const ActionSettings& settings, ActionWatcher& watcher) {
  // Those that do not stop are not started, and leave the others alone.
  struct Quiet : ActionWatcher {
  } quiet;
  std::vector<std::string> names;
  for (const auto& request : nodes) names.push_back(request.node);
  auto waiting = settings;
  waiting.wait = true;
  waiting.timeout = settings.timeout;
  const auto stopped = stop(names, waiting, quiet);

  std::vector<NodeRequest> due;
  std::vector<NodeOutcome> outcomes = stopped;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (stopped[i].kind == Kind::failed)
      watcher.ended(stopped[i]);
    else
      due.push_back(nodes[i]);
  }
  auto starting = settings;
  starting.timeout.reset();
  for (auto& outcome : start(due, starting, watcher)) {
    const auto at = std::find_if(outcomes.begin(), outcomes.end(),
                                 [&](const NodeOutcome& known) { return known.node == outcome.node; });
    outcome.took += at->took;
    if (outcome.message.empty() && at->kind != Kind::unchanged) outcome.message = at->message;
    *at = std::move(outcome);
  }
  return outcomes;
}

NodeState SupervisorDetached::look(const std::string& node) const {
  NodeState state;
  state.node = node;
  if (const auto record = records_.read(node)) state.logfile = record->logfile;
  state.pidfile = pidfile_of(node);
  const auto pidfile = read_pidfile(state.pidfile);
  if (pidfile.kind == PidfileState::Kind::foreign || pidfile.kind == PidfileState::Kind::forbidden) {
    state.state = NodeState::State::failed;
    state.detail = "the pidfile " + state.pidfile + " cannot be used: " + pidfile.detail;
  }
  if (pidfile.kind == PidfileState::Kind::stale) {
    state.state = NodeState::State::failed;
    state.detail = "it ended without being stopped; its pidfile is left over";
  }
  if (!pidfile.running()) return state;
  state.state =
      pidfile.kind == PidfileState::Kind::live ? NodeState::State::running : NodeState::State::starting;
  state.pid = pidfile.pid;
  state.uptime = process_age(state.pid);
  state.memory = process_memory(state.pid);
  return state;
}

/// What only the worker itself can say.
void SupervisorDetached::ask(NodeState& state) const {
  try {
    const auto answer =
        ask_worker(control_socket_path(settings_.runtime_dir, state.node), "health", answer_patience);
    state.status = answer.at("statusText").get<std::string>();
    if (answer.at("state") == "starting") state.state = NodeState::State::starting;
    if (answer.at("state") == "stopping") state.state = NodeState::State::stopping;
  } catch (const Error& error) {
    if (error.code() == Exit::unhealthy) state.detail = "it does not answer: stuck, or stopped by a signal";
  } catch (const Json::exception&) {
    // A worker of another version: what the pidfile tells has to do.
  }
}

std::vector<NodeState> SupervisorDetached::status(const std::vector<std::string>& nodes) {
  std::set<std::string> known(nodes.begin(), nodes.end());
  if (nodes.empty())
    for (auto& node : records_.nodes()) known.insert(std::move(node));
  std::vector<std::string> order =
      nodes.empty() ? std::vector<std::string>(known.begin(), known.end()) : nodes;
  std::vector<NodeState> states;
  for (const auto& node : order) states.push_back(look(node));

  // Side by side, for one that is stuck keeps us waiting.
  constexpr std::size_t at_once = 32;
  for (std::size_t begin = 0; begin < states.size(); begin += at_once) {
    std::vector<std::future<void>> answers;
    for (std::size_t i = begin; i < std::min(begin + at_once, states.size()); ++i)
      if (states[i].pid > 0) answers.push_back(std::async(std::launch::async, [&, i] { ask(states[i]); }));
    for (auto& answer : answers) answer.get();
  }
  return states;
}

}  // namespace stem
