#pragma once

#include "supervisor/drop_in.hpp"
#include "supervisor/scope.hpp"
#include "supervisor/supervisor.hpp"
#include "supervisor/systemd_jobs.hpp"
#include "supervisor/unit_reader.hpp"

namespace stem {

/// Nodes as instances of stem-worker@.service. Connections are made when they are needed.
class SupervisorSystemd : public Supervisor {
 public:
  explicit SupervisorSystemd(Scope scope);

  std::string name() const override;
  std::vector<NodeOutcome> start(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                 ActionWatcher& watcher) override;
  std::vector<NodeOutcome> stop(const std::vector<std::string>& nodes, const ActionSettings& settings,
                                ActionWatcher& watcher) override;
  std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes, const ActionSettings& settings,
                                   ActionWatcher& watcher) override;
  std::vector<NodeState> status(const std::vector<std::string>& nodes) override;

 private:
  struct Action;
  std::vector<NodeOutcome> act(SystemdJobs::Verb verb, const std::vector<std::string>& nodes,
                               const ActionSettings& settings, ActionWatcher& watcher,
                               const std::vector<std::string>& changed);
  /// Writes drop-ins and has the manager read them; returns the nodes whose options are new.
  std::vector<std::string> remember(const std::vector<NodeRequest>& nodes, const ActionSettings& settings);
  void make_places(const std::string& node, const NodeOptions& options) const;

  Scope scope_;
  DropIns drop_ins_;
};

/// True if that manager runs and this user can reach it.
bool manager_runs(Scope scope);

}  // namespace stem
