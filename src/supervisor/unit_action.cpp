#include "supervisor/unit_action.hpp"

#include <algorithm>
#include <thread>

#include "supervisor/journal.hpp"
#include "supervisor/refusal.hpp"
#include "supervisor/unit_reader.hpp"

namespace stem {
namespace {

using Kind = NodeOutcome::Kind;

constexpr std::size_t excerpt_lines = 10;
constexpr Duration excerpt_patience = std::chrono::milliseconds{500};
/// How long to look for a manager that has gone, after the bus broke: it re-executes within seconds.
constexpr auto lost_patience = std::chrono::seconds{90};

}  // namespace

void UnitAction::settle(NodeOutcome outcome) {
  if (confirm_ && outcome.kind == Kind::done) confirm_(outcome);
  outcome.took = duration_cast<Duration>(std::chrono::steady_clock::now() - began_);
  watcher_.ended(outcome);
  outcomes_.emplace(outcome.node, std::move(outcome));
}

void UnitAction::on_ended(const SystemdJobs::Ended& ended) {
  if (ended.result == "lost") return lost_.push_back(ended.unit);
  NodeOutcome outcome;
  outcome.node = node_of(ended.unit);
  outcome.pid = ended.facts.main_pid;
  if (ended.result == "queued") {
    outcome.kind = Kind::queued;
  } else if (ended.result == "refused") {
    const auto error = explain_refusal(verb_, ended.unit, manager_, ended.error_name, ended.error_text);
    outcome.kind = Kind::failed;
    outcome.code = error.code();
    outcome.message = error.what();
  } else if (ended.result == "late") {
    outcome.kind = Kind::failed;
    outcome.code = Exit::try_again;
    outcome.message = std::string("did not ") + word_of(verb_) +
                      " within --timeout; systemd goes on with it: see `stem worker multi status`";
  } else {
    judge(outcome, ended.result, ended.facts);
  }
  settle(std::move(outcome));
}

/// A job has ended: whether that is what was wanted.
void UnitAction::judge(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts) {
  const bool stopped = facts.active_state == "inactive" || facts.active_state == "failed";
  if (result == "done" && (verb_ == Verb::stop ? stopped : facts.running())) {
    if (verb_ == Verb::stop) outcome.pid = 0;
    return;
  }
  outcome.kind = Kind::failed;
  outcome.code = Exit::unhealthy;
  if (result == "canceled") {
    outcome.message = "the job was canceled: somebody else asked for something different meanwhile";
  } else if (result == "dependency") {
    outcome.message = "a unit that it needs could not be started; `" + manager_.command("systemctl") +
                      "list-dependencies " + unit_of(outcome.node) + "` shows which";
  } else if (verb_ == Verb::reload && (result == "invalid" || stopped)) {
    outcome.message = "does not run any more, so it cannot reload";
  } else if (result == "skipped" ||
             (result == "done" && facts.active_state == "inactive" && verb_ != Verb::stop)) {
    outcome.message = "systemd did not start it: a condition of its unit does not hold, or it ended at once";
  } else if (result == "done" && verb_ == Verb::stop) {
    outcome.message = "it was stopped, but has been started again by somebody else";
  } else {
    explain_failure(outcome, result, facts);
  }
}

void UnitAction::explain_failure(NodeOutcome& outcome, const std::string& result, const UnitFacts& facts) {
  failures_[outcome.node] = facts;
  const auto why = describe_failure(facts);
  const auto* word = verb_ == Verb::restart ? "start" : word_of(verb_);
  outcome.message = std::string("did not ") + word + ": " + (why.empty() ? result : why);
  if (facts.sub_state == "auto-restart") outcome.message += "; systemd tries again";
  if (facts.result == "exit-code" && facts.exit_status >= 64 && facts.exit_status <= 78)
    outcome.code = static_cast<Exit>(facts.exit_status);
}

void UnitAction::add_excerpts() {
  for (auto& [node, facts] : failures_) {
    auto& outcome = outcomes_.at(node);
    outcome.log_source = manager_.command("journalctl") + "-u " + facts.unit;
    if (!manager_.host.empty()) continue;
    auto excerpt = journal_of(facts, manager_.scope, excerpt_lines, excerpt_patience);
    outcome.log = std::move(excerpt.lines);
    if (!excerpt.readable)
      outcome.message += "; the journal has the reason, for root and the group systemd-journal";
  }
}

void UnitAction::look_at_lost(bool late) {
  std::vector<UnitFacts> found;
  try {
    UnitReader reader(manager_);
    found = reader.find(lost_);
    std::vector<UnitReader::Request> requests;
    for (auto& facts : found)
      requests.push_back({&facts, UnitReader::pid | UnitReader::failure | UnitReader::invocation});
    reader.fill(requests);
  } catch (const Error&) {
    // Not back yet.
  }
  for (const auto& facts : found) {
    const bool moving =
        facts.job_pending || facts.active_state == "activating" || facts.active_state == "deactivating";
    if (moving && facts.sub_state != "auto-restart" && !late) continue;
    lost_.erase(std::find(lost_.begin(), lost_.end(), facts.unit));
    NodeOutcome outcome;
    outcome.node = node_of(facts.unit);
    outcome.pid = facts.main_pid;
    const bool fine = verb_ == Verb::stop ? !facts.running() : facts.running();
    judge(outcome, fine ? "done" : "failed", facts);
    settle(std::move(outcome));
  }
  if (!late) return;
  for (const auto& unit : std::exchange(lost_, {}))
    on_ended(
        {unit, "refused", "org.freedesktop.DBus.Error.Disconnected", "the service manager went away", {}});
}

void UnitAction::follow_lost(std::optional<SteadyTime> deadline) {
  // Of another machine one last look: every one of them is a login.
  const auto end =
      !manager_.host.empty() ? began_ : deadline.value_or(std::chrono::steady_clock::now() + lost_patience);
  for (bool late = false; !lost_.empty() && !late;) {
    late = std::chrono::steady_clock::now() >= end;
    look_at_lost(late);
    // There is no bus left to be told by.
    if (!lost_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
}

std::vector<NodeOutcome> UnitAction::take(const std::vector<std::string>& nodes) {
  add_excerpts();
  std::vector<NodeOutcome> outcomes;
  for (const auto& node : nodes) outcomes.push_back(std::move(outcomes_.at(node)));
  return outcomes;
}

}  // namespace stem
