#pragma once

#include "service/directories.hpp"
#include "supervisor/launch.hpp"
#include "supervisor/node_record.hpp"
#include "supervisor/supervisor.hpp"

namespace stem {

/// Nodes as background processes, where systemd is absent or not wanted. Started through start-stop-daemon
/// where there is one. Whether a node runs is decided by the lock on its pidfile, and it is signalled through
/// a pidfd, so that a stale file or a number that means another process by now does no harm.
class SupervisorDetached : public Supervisor {
 public:
  struct Settings {
    std::string runtime_dir;  ///< of pidfiles, control sockets and records
    Environment environment;  ///< of the workers
    std::string log_dir;      ///< of log files without a path of their own
    std::string user, group;  ///< whom workers run as; empty = as we are. Only root may say so
    std::string program;      ///< the stem that runs the worker
    Backgrounder backgrounder;

    /// As is usual for this user: logs in /var/log/stem or $XDG_STATE_HOME/stem/log, STEMD_USER and
    /// STEMD_GROUP, this very program.
    static Settings usual(const std::string& runtime_dir, const Environment& environment);
  };

  explicit SupervisorDetached(Settings settings);
  SupervisorDetached(const std::string& runtime_dir, const Environment& environment)
      : SupervisorDetached(Settings::usual(runtime_dir, environment)) {}

  std::string name() const override { return settings_.backgrounder.name(); }
  std::vector<NodeOutcome> start(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                 ActionWatcher& watcher) override;
  /// timeout: from SIGTERM to SIGKILL; 30 s if unset.
  std::vector<NodeOutcome> stop(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                ActionWatcher& watcher) override;
  std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                   ActionWatcher& watcher) override;
  std::vector<NodeState> status(const std::vector<std::string>& nodes) override;

  /// What was recorded at the last start of a node.
  std::optional<NodeRecord> recorded(const std::string& node) const { return records_.read(node); }
  /// Where the pidfile of a node is: as recorded at its last start, else where it would be.
  std::string pidfile_of(const std::string& node) const;

 private:
  class Starting;
  class Stopping;
  NodeRecord plan(const NodeRequest& request, bool reset) const;
  LaunchOrder order(const std::string& node, const NodeRecord& record, Duration timeout) const;
  NodeState look(const std::string& node) const;
  void ask(NodeState& state) const;
  Owner owner() const;
  void make_runtime_dir(bool is_private) const;

  Settings settings_;
  NodeRecords records_;
};

}  // namespace stem
