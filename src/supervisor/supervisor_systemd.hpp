#pragma once

#include "supervisor/drop_in.hpp"
#include "supervisor/scope.hpp"
#include "supervisor/supervisor.hpp"

namespace stem {

class UnitAction;
struct UnitFacts;

/// Nodes as instances of stem-worker@.service. Connections are made when they are needed. Options are files
/// on the nodes' own machine: of a host they are refused (64), and so are its logs.
class SupervisorSystemd : public Supervisor {
 public:
  explicit SupervisorSystemd(Scope scope, const std::string& host = {});

  std::string name() const override;
  std::vector<NodeOutcome> start(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                 ActionWatcher& watcher) override;
  std::vector<NodeOutcome> stop(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                ActionWatcher& watcher) override;
  std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                   ActionWatcher& watcher) override;
  std::vector<NodeOutcome> reload(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                  ActionWatcher& watcher) override;
  std::vector<NodeOutcome> enable(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                  ActionWatcher& watcher) override;
  std::vector<NodeOutcome> disable(const std::vector<std::string>& nodes, ActionWatcher& watcher) override;
  std::vector<NodeState> status(const std::vector<std::string>& nodes) override;
  std::vector<std::string> nodes() override;
  void read_logs(const std::vector<std::string>& nodes, const LogQuery& query, LogReader& reader) override;

 private:
  std::vector<NodeOutcome> act(UnitAction& action, Verb verb, const std::vector<std::string>& nodes,
                               const ActionSettings& settings, ActionWatcher& watcher,
                               const std::vector<std::string>& changed = {});
  void settle_resting(UnitAction& action, Verb verb, const std::vector<UnitFacts>& resting,
                      const std::vector<std::string>& changed) const;
  /// Writes drop-ins and has the manager read them; returns the nodes whose options are new.
  std::vector<std::string> remember(const std::vector<NodeRequest>& nodes, const ActionSettings& settings);
  std::vector<NodeOutcome> link(Verb verb, const std::vector<NodeRequest>& nodes, bool reset,
                                ActionWatcher& watcher);
  void refuse_options_of_host(const std::vector<NodeRequest>& nodes, const ActionSettings& settings) const;
  void make_places(const std::string& node, const NodeOptions& options) const;
  NodeState state_of(const UnitFacts& facts) const;

  const Manager manager_;
  DropIns drop_ins_;
};

/// True if that manager runs and this user can reach it.
bool manager_runs(Scope scope);

}  // namespace stem
