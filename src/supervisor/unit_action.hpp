#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "supervisor/scope.hpp"
#include "supervisor/supervisor.hpp"
#include "supervisor/systemd_jobs.hpp"

namespace stem {

/// One action on the units of some nodes: makes an outcome of each job's end.
class UnitAction {
 public:
  UnitAction(const Manager& manager, Verb verb, ActionWatcher& watcher)
      : manager_(manager), verb_(verb), watcher_(watcher) {}

  SteadyTime began() const { return began_; }
  /// Called with what is about to be a success; it may make a failure of it.
  void confirm_with(std::function<void(NodeOutcome&)> confirm) { confirm_ = std::move(confirm); }

  void settle(NodeOutcome outcome);
  void on_ended(const SystemdJobs::Ended& ended);
  /// Jobs that the bus broke under go on without us, so the units' states tell how they end.
  void follow_lost(std::optional<SteadyTime> deadline);
  /// All are settled: the outcomes in this order, failures with the last lines of their journal.
  std::vector<NodeOutcome> take(const std::vector<std::string>& nodes);

 private:
  void judge(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts);
  void explain_failure(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts);
  void add_excerpts();
  /// Looks once; what has come to its end is settled. `late`: what has not is, too.
  void look_at_lost(bool late);

  const Manager& manager_;
  const Verb verb_;
  ActionWatcher& watcher_;
  std::function<void(NodeOutcome&)> confirm_;
  const SteadyTime began_ = std::chrono::steady_clock::now();
  std::map<std::string, NodeOutcome> outcomes_;  // by node
  std::map<std::string, UnitFacts> failures_;    // by node
  std::vector<std::string> lost_;                // units
};

}  // namespace stem
