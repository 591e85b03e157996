#include "supervisor/supervisor.hpp"

namespace stem {
namespace {

/// What stops all of them is thrown for the first; later it must not hide what became of those before.
NodeOutcome restart_one(Supervisor& supervisor, const NodeRequest& request, const ActionSettings& settings,
                        ActionWatcher& watcher, bool first) {
  try {
    return supervisor.restart({request}, settings, watcher).front();
  } catch (const Error& error) {
    if (first) throw;
    NodeOutcome outcome;
    outcome.node = request.node;
    outcome.kind = NodeOutcome::Kind::failed;
    outcome.code = error.code();
    outcome.message = error.what();
    watcher.ended(outcome);
    return outcome;
  }
}

}  // namespace

std::vector<NodeOutcome> restart_rolling(Supervisor& supervisor, const std::vector<NodeRequest>& nodes,
                                         const ActionSettings& settings, ActionWatcher& watcher) {
  // The supervisor's own beginnings are parts of one.
  struct Forward : ActionWatcher {
    explicit Forward(ActionWatcher& to) : to(to) {}
    void ended(const NodeOutcome& outcome) override { to.ended(outcome); }
    ActionWatcher& to;
  } forward(watcher);

  watcher.began();
  std::vector<NodeOutcome> outcomes;
  bool broken = false;
  for (const auto& request : nodes) {
    if (!broken) {
      outcomes.push_back(restart_one(supervisor, request, settings, forward, outcomes.empty()));
      broken = outcomes.back().kind == NodeOutcome::Kind::failed;
      continue;
    }
    NodeOutcome untouched;
    untouched.node = request.node;
    untouched.kind = NodeOutcome::Kind::untouched;
    watcher.ended(untouched);
    outcomes.push_back(std::move(untouched));
  }
  return outcomes;
}

}  // namespace stem
