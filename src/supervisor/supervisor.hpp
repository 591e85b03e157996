#pragma once

#include <sys/types.h>
#include <cstdint>
#include <memory>
#include <optional>
#include <stem/config.hpp>
#include <stem/error.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "supervisor/log_line.hpp"
#include "supervisor/node_options.hpp"
#include "supervisor/verb.hpp"

namespace stem {

/// What a node is doing, as its supervisor sees it.
struct NodeState {
  enum class State { running, starting, reloading, stopping, failed, stopped };

  std::string node;
  State state = State::stopped;
  std::string detail;              ///< why it failed, or what it waits for; empty if there is nothing to say
  pid_t pid = 0;                   ///< of the worker; 0 = none
  std::optional<Duration> uptime;  ///< age of that process
  std::optional<unsigned> restarts;      ///< by the supervisor, since it was last started by hand
  std::optional<std::uint64_t> memory;   ///< bytes: of the control group, else of the process
  std::string status;                    ///< the worker's own line
  std::optional<Duration> watchdog_age;  ///< since it last gave a sign of progress
  std::string unit;                      ///< empty where systemd does not run it
  std::string pidfile, logfile;          ///< empty if not known

  bool running() const { return state == State::running || state == State::reloading; }
};
std::string_view name_of(NodeState::State state);

/// What became of one node in an action.
struct NodeOutcome {
  enum class Kind {
    done,       ///< it runs, has stopped, has reloaded, is enabled, is disabled
    unchanged,  ///< it was so already
    queued,     ///< asked for; nobody waited
    failed,
    untouched,  ///< a rolling restart ended before its turn
  };

  std::string node;
  Kind kind = Kind::done;
  pid_t pid = 0;                 ///< of the worker that runs now
  Duration took{};               ///< from the call to the end
  std::string message;           ///< failed: why and what to do; else a remark, or empty
  Exit code = Exit::ok;          ///< failed: the exit status it stands for
  std::vector<std::string> log;  ///< failed: the last lines that this very start wrote
  std::string log_source;        ///< where they are from, and more is to be found
};

/// One node of a start(), restart() or enable().
struct NodeRequest {
  std::string node;
  NodeOptions options;  ///< those said replace the remembered ones
};

struct ActionSettings {
  bool wait = true;                 ///< false: return once the supervisor has been asked
  bool reset = false;               ///< forget the remembered options first
  std::optional<Duration> timeout;  ///< how long to wait; unset = as the supervisor does
};

/// Sees each node of an action as it moves; called on the thread that called the supervisor.
class ActionWatcher {
 public:
  virtual ~ActionWatcher() = default;
  /// All nodes have been asked to move.
  virtual void began() {}
  virtual void ended(const NodeOutcome&) {}
};

/// Runs worker nodes. Names have passed require_name(), none is there twice. Actions on many nodes go on side
/// by side, and the failure of one leaves the others alone. Outcomes come in the order of the nodes. Throws
/// Error for what concerns all of them: no manager (69), no permission (77).
class Supervisor {
 public:
  virtual ~Supervisor() = default;

  /// `systemd`, `systemd --user`, `start-stop-daemon`, `stem`: for people and for JSON.
  virtual std::string name() const = 0;

  virtual std::vector<NodeOutcome> start(const std::vector<NodeRequest>& nodes,
                                         const ActionSettings& settings, ActionWatcher& watcher) = 0;
  virtual std::vector<NodeOutcome> stop(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                        ActionWatcher& watcher) = 0;
  /// Starts those that are stopped.
  virtual std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes,
                                           const ActionSettings& settings, ActionWatcher& watcher) = 0;

  /// Has nodes that run read their configuration again, and waits until each has said how that went.
  virtual std::vector<NodeOutcome> reload(const std::vector<std::string>& nodes,
                                          const ActionSettings& settings, ActionWatcher& watcher) = 0;

  /// Has them started at boot, with the options that they remember. Throws Error 69 where nothing could.
  virtual std::vector<NodeOutcome> enable(const std::vector<NodeRequest>& nodes,
                                          const ActionSettings& settings, ActionWatcher& watcher) = 0;
  /// The opposite. A node that runs goes on, and remembers its options until the next boot.
  virtual std::vector<NodeOutcome> disable(const std::vector<std::string>& nodes, ActionWatcher& watcher) = 0;

  /// In this order; no names = every node that is known, by name.
  virtual std::vector<NodeState> status(const std::vector<std::string>& nodes) = 0;
  /// Every node that is known, by name: those that run or failed, that remember options or are enabled.
  virtual std::vector<std::string> nodes() = 0;

  /// Hands what the nodes and their supervisor have written to `reader`, oldest first. With query.follow it
  /// goes on until the reader has enough. Throws Error: 77 it may not be read, 66 there is no such log.
  virtual void read_logs(const std::vector<std::string>& nodes, const LogQuery& query, LogReader& reader) = 0;
};

/// One node after the other, the next only when the last one is ready; ends at the first that fails. The rest
/// is `untouched`, its options as they were.
std::vector<NodeOutcome> restart_rolling(Supervisor& supervisor, const std::vector<NodeRequest>& nodes,
                                         const ActionSettings& settings, ActionWatcher& watcher);

/// Which supervisor, and what it needs to know.
struct SupervisorSettings {
  enum class Kind { automatic, systemd, detached } kind = Kind::automatic;
  enum class Reach { automatic, system, user } reach = Reach::automatic;
  std::string host;         ///< as `systemctl -H`: [USER@]HOST[:PORT]; empty = this machine
  std::string runtime_dir;  ///< where the fallback keeps pidfiles and records
  Environment environment;  ///< that workers of the fallback inherit

  /// From --supervisor or STEM_SUPERVISOR: systemd, start-stop-daemon or auto. Throws Error (exit 64).
  static Kind kind_of(const std::string& word);
};

/// automatic: systemd if it runs this machine. Its reach: the system for root, else the user's manager if it
/// runs. A host has systemd, and its system's nodes. Throws Error: 69 if the one that is asked for does not
/// run, 64 for what cannot be asked of a host.
std::unique_ptr<Supervisor> open_supervisor(const SupervisorSettings& settings);

}  // namespace stem
