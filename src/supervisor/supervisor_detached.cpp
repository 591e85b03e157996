#include "supervisor/supervisor_detached.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <future>
#include <set>

#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "service/pidfile.hpp"
#include "supervisor/log_file.hpp"
#include "supervisor/process_facts.hpp"
#include "supervisor/reload_receipt.hpp"
#include "supervisor/starting_node.hpp"
#include "supervisor/stopping_node.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

constexpr Duration answer_patience = std::chrono::milliseconds{800};
constexpr Duration reload_patience = std::chrono::seconds{30};
/// Questions to workers that are asked side by side, for one that is stuck keeps us waiting.
constexpr std::size_t at_once = 32;

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

/// Calls `work(i)` for 0 to count - 1, some side by side.
template <typename Work>
void side_by_side(std::size_t count, Work work) {
  for (std::size_t begin = 0; begin < count; begin += at_once) {
    std::vector<std::future<void>> all;
    for (std::size_t i = begin; i < std::min(begin + at_once, count); ++i)
      all.push_back(std::async(std::launch::async, [&work, i] { work(i); }));
    for (auto& one : all) one.get();
  }
}

[[noreturn]] void nothing_at_boot(Verb verb) {
  const bool enable = verb == Verb::enable;
  throw Error(
      Exit::unavailable,
      std::string("without systemd an init script starts nodes at boot: ") +
          (enable
               ? "list them in STEMD_NODES of /etc/default/stem (Red Hat: /etc/sysconfig/stem), and say "
                 "`update-rc.d stem-worker defaults` or `chkconfig stem-worker on`"
               : "take them out of STEMD_NODES in /etc/default/stem (Red Hat: /etc/sysconfig/stem), or say "
                 "`update-rc.d stem-worker remove` or `chkconfig stem-worker off`"));
}

}  // namespace

SupervisorDetached::SupervisorDetached(DetachedSettings settings)
    : settings_(std::move(settings)), records_(settings_.runtime_dir) {}

/// Before the first lock of a node, which would make it root's.
void SupervisorDetached::make_runtime_dir(bool is_private) const {
  try {
    make_directories(settings_.runtime_dir, settings_.owner(), is_private);
  } catch (const Error&) {
    // What is there can be looked at whomever it is for; what is not must not become root's.
    if (access(settings_.runtime_dir.c_str(), F_OK) != 0) throw;
  }
}

std::vector<NodeOutcome> SupervisorDetached::start(const std::vector<NodeRequest>& nodes,
                                                   const ActionSettings& settings, ActionWatcher& watcher) {
  watcher.began();
  make_runtime_dir(std::any_of(nodes.begin(), nodes.end(),
                               [](const NodeRequest& request) { return request.options.private_dirs; }));
  std::vector<std::unique_ptr<StartingNode>> all(nodes.size());
  for (const auto i : lock_order(nodes, [](const NodeRequest& request) { return request.node; })) {
    all[i] = std::make_unique<StartingNode>(settings_, records_, nodes[i], settings);
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
      all[i]->let_go();
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
  std::vector<std::unique_ptr<StoppingNode>> all(nodes.size());
  for (const auto i : lock_order(nodes, [](const std::string& node) { return node; })) {
    all[i] = std::make_unique<StoppingNode>(records_, nodes[i], settings);
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
  state.pidfile = records_.pidfile_of(node);
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

  side_by_side(states.size(), [&](std::size_t i) {
    if (states[i].pid > 0) ask(states[i]);
  });
  return states;
}

NodeOutcome SupervisorDetached::reload_one(const std::string& node, const ActionSettings& settings) const {
  const auto began = std::chrono::steady_clock::now();
  NodeOutcome outcome;
  outcome.node = node;
  try {
    const auto pidfile = records_.pidfile_of(node);
    const auto state = read_pidfile(pidfile);
    if (state.kind == PidfileState::Kind::foreign || state.kind == PidfileState::Kind::forbidden)
      throw Error(Exit::no_permission, "the pidfile " + pidfile + " cannot be used: " + state.detail);
    const auto holder = PidfileHolder::open(pidfile);
    if (!holder)
      throw Error(Exit::unhealthy,
                  "does not run, so it cannot reload; `stem worker multi start " + node + "` starts it");
    outcome.pid = holder->pid();
    // A worker that has just begun does not catch SIGHUP yet, and would die of it. Once it answers, it does.
    const auto receipt = ReloadReceipt::before(control_socket_path(settings_.runtime_dir, node));
    if (!receipt)
      throw Error(Exit::try_again,
                  "nobody answers at its control socket: it is starting, stopping or stuck, so it "
                  "was not asked to reload");
    if (!holder->signal(SIGHUP)) throw Error(Exit::unhealthy, "ended before it could be asked to reload");
    if (settings.wait)
      receipt->await(began + settings.timeout.value_or(reload_patience));
    else
      outcome.kind = Kind::queued;
  } catch (const Error& error) {
    outcome.kind = Kind::failed;
    outcome.code = error.code();
    outcome.message = error.what();
  }
  outcome.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began);
  return outcome;
}

std::vector<NodeOutcome> SupervisorDetached::reload(const std::vector<std::string>& nodes,
                                                    const ActionSettings& settings, ActionWatcher& watcher) {
  watcher.began();
  std::vector<NodeOutcome> outcomes(nodes.size());
  side_by_side(nodes.size(), [&](std::size_t i) { outcomes[i] = reload_one(nodes[i], settings); });
  for (const auto& outcome : outcomes) watcher.ended(outcome);
  return outcomes;
}

std::vector<NodeOutcome> SupervisorDetached::enable(const std::vector<NodeRequest>&, const ActionSettings&,
                                                    ActionWatcher&) {
  nothing_at_boot(Verb::enable);
}

std::vector<NodeOutcome> SupervisorDetached::disable(const std::vector<std::string>&, ActionWatcher&) {
  nothing_at_boot(Verb::disable);
}

void SupervisorDetached::read_logs(const std::vector<std::string>& nodes, const LogQuery& query,
                                   LogReader& reader) {
  std::vector<NodeLogFile> files;
  for (const auto& node : nodes) {
    const auto record = records_.read(node);
    if (!record)
      throw Error(Exit::no_input, "node " + node +
                                      " has no log: it has never been started with this runtime directory, " +
                                      settings_.runtime_dir);
    files.push_back({node, record->logfile});
  }
  read_log_files(files, query, reader);
}

}  // namespace stem
