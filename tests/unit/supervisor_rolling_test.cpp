#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "supervisor/supervisor.hpp"

using namespace stem;
using Kind = NodeOutcome::Kind;

namespace {

/// Notes what it is asked for; one node fails, or brings down the whole supervisor.
struct Scripted : Supervisor {
  std::vector<std::string> asked;
  std::string failing, breaking;

  std::vector<NodeOutcome> restart(const std::vector<NodeRequest>& nodes, const ActionSettings&,
                                   ActionWatcher& watcher) override {
    REQUIRE(nodes.size() == 1);
    watcher.began();
    asked.push_back(nodes[0].node);
    if (nodes[0].node == breaking) throw Error(Exit::unavailable, "the bus has gone");
    NodeOutcome outcome;
    outcome.node = nodes[0].node;
    if (outcome.node == failing) {
      outcome.kind = Kind::failed;
      outcome.code = Exit::config;
    }
    watcher.ended(outcome);
    return {outcome};
  }
  std::string name() const override { return "scripted"; }
  std::vector<NodeOutcome> start(const std::vector<NodeRequest>&, const ActionSettings&,
                                 ActionWatcher&) override {
    return {};
  }
  std::vector<NodeOutcome> stop(const std::vector<std::string>&, const ActionSettings&,
                                ActionWatcher&) override {
    return {};
  }
  std::vector<NodeOutcome> reload(const std::vector<std::string>&, const ActionSettings&,
                                  ActionWatcher&) override {
    return {};
  }
  std::vector<NodeOutcome> enable(const std::vector<NodeRequest>&, const ActionSettings&,
                                  ActionWatcher&) override {
    return {};
  }
  std::vector<NodeOutcome> disable(const std::vector<std::string>&, ActionWatcher&) override { return {}; }
  std::vector<NodeState> status(const std::vector<std::string>&) override { return {}; }
  std::vector<std::string> nodes() override { return {}; }
  void read_logs(const std::vector<std::string>&, const LogQuery&, LogReader&) override {}
};

struct Watcher : ActionWatcher {
  int beginnings = 0;
  std::vector<std::string> seen;
  void began() override { ++beginnings; }
  void ended(const NodeOutcome& outcome) override { seen.push_back(outcome.node); }
};

std::vector<Kind> roll(Scripted& supervisor, Watcher& watcher) {
  std::vector<NodeRequest> requests;
  for (const char* node : {"a", "b", "c"}) requests.push_back({node, {}});
  std::vector<Kind> kinds;
  for (const auto& outcome : restart_rolling(supervisor, requests, {}, watcher))
    kinds.push_back(outcome.kind);
  return kinds;
}

}  // namespace

TEST_CASE("rolling: one node after the other, and one beginning") {
  Scripted supervisor;
  Watcher watcher;
  CHECK(roll(supervisor, watcher) == std::vector{Kind::done, Kind::done, Kind::done});
  CHECK(supervisor.asked == std::vector<std::string>{"a", "b", "c"});
  CHECK(watcher.beginnings == 1);
  CHECK(watcher.seen == supervisor.asked);
}

TEST_CASE("rolling: after the first failure no node is touched, and each is told of") {
  Scripted supervisor;
  supervisor.failing = "b";
  Watcher watcher;
  CHECK(roll(supervisor, watcher) == std::vector{Kind::done, Kind::failed, Kind::untouched});
  CHECK(supervisor.asked == std::vector<std::string>{"a", "b"});
  CHECK(watcher.seen == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("rolling: a supervisor that breaks on the way does not hide what was done before") {
  Scripted supervisor;
  supervisor.breaking = "b";
  Watcher watcher;
  CHECK(roll(supervisor, watcher) == std::vector{Kind::done, Kind::failed, Kind::untouched});
  Scripted at_once;
  at_once.breaking = "a";
  CHECK_THROWS_WITH_AS(roll(at_once, watcher), "the bus has gone", Error);
}
