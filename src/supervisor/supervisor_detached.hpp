#pragma once

#include "supervisor/detached_settings.hpp"
#include "supervisor/node_record.hpp"
#include "supervisor/supervisor.hpp"

namespace stem {

/// Nodes as background processes, where systemd is absent or not wanted. Started through start-stop-daemon
/// where there is one. Whether a node runs is decided by the lock on its pidfile, and it is signalled through
/// a pidfd, so that a stale file or a number that means another process by now does no harm.
class SupervisorDetached : public Supervisor {
 public:
  explicit SupervisorDetached(DetachedSettings settings);
  SupervisorDetached(const std::string& runtime_dir, const Environment& environment)
      : SupervisorDetached(DetachedSettings::usual(runtime_dir, environment)) {}

  std::string name() const override { return settings_.backgrounder.name(); }
  std::vector<NodeOutcome> start(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                 ActionWatcher& watcher) override;
  /// timeout: from SIGTERM to SIGKILL; 30 s if unset.
  std::vector<NodeOutcome> stop(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                ActionWatcher& watcher) override;
  std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                   ActionWatcher& watcher) override;
  /// SIGHUP, and then the worker's own word on it; timeout: 30 s if unset.
  std::vector<NodeOutcome> reload(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                  ActionWatcher& watcher) override;
  /// These two throw Error 69: what starts nodes at boot here is an init script, not us.
  std::vector<NodeOutcome> enable(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                  ActionWatcher& watcher) override;
  std::vector<NodeOutcome> disable(const std::vector<std::string>& nodes, ActionWatcher& watcher) override;
  std::vector<NodeState> status(const std::vector<std::string>& nodes) override;
  std::vector<std::string> nodes() override { return records_.nodes(); }
  /// Their log files.
  void read_logs(const std::vector<std::string>& nodes, const LogQuery& query, LogReader& reader) override;

  /// What was recorded at the last start of a node.
  std::optional<NodeRecord> recorded(const std::string& node) const { return records_.read(node); }

 private:
  NodeOutcome reload_one(const std::string& node, const ActionSettings& settings) const;
  NodeState look(const std::string& node) const;
  void ask(NodeState& state) const;
  void make_runtime_dir(bool is_private) const;

  DetachedSettings settings_;
  NodeRecords records_;
};

}  // namespace stem
