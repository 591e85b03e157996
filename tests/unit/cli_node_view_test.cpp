#include <doctest/doctest.h>

#include "cli/node_view.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

NodeState busy() {
  NodeState state;
  state.node = "web-1";
  state.state = NodeState::State::running;
  state.pid = 1234;
  state.uptime = 2h + 5min + 7s;
  state.restarts = 0;
  state.memory = 12'900'000;
  state.status = "3/8 busy · 1,284 done · 2 failed · default, mail";
  state.watchdog_age = 1500ms;
  state.unit = "stem-worker@web-1.service";
  return state;
}

NodeState broken() {
  NodeState state;
  state.node = "b";
  state.state = NodeState::State::failed;
  state.detail = "exit-code 78 (configuration)";
  state.status = "evil\x1b[31m\nline";
  return state;
}

NodeOutcome outcome(NodeOutcome::Kind kind, const std::string& message = "") {
  NodeOutcome made;
  made.node = "a";
  made.kind = kind;
  made.pid = 77;
  made.took = 340ms;
  made.message = message;
  return made;
}

}  // namespace

TEST_CASE("node view: lengths of time as a person says them") {
  CHECK(human_duration(340ms) == "0.3s");
  CHECK(human_duration(9900ms) == "9.9s");
  CHECK(human_duration(59s) == "59s");
  CHECK(human_duration(60s) == "1m");
  CHECK(human_duration(303s) == "5m 3s");
  CHECK(human_duration(2h + 5min) == "2h 5m");
  CHECK(human_duration(51h) == "2d 3h");
}

TEST_CASE("node view: sizes in units of 1024") {
  CHECK(human_bytes(0) == "0B");
  CHECK(human_bytes(1023) == "1023B");
  CHECK(human_bytes(1024) == "1.0K");
  CHECK(human_bytes(12'900'000) == "12M");
  CHECK(human_bytes(5'368'709'120) == "5.0G");
}

TEST_CASE("node view: the table of states, from which nothing reaches the terminal but text") {
  CHECK(status_table({busy(), broken()}) ==
        "NODE   STATE     PID  UPTIME  RESTARTS  MEMORY  WATCHDOG  STATUS\n"
        "web-1  running  1234  2h 5m          0  12M     1.5s      3/8 busy · 1,284 done · 2 failed · "
        "default, mail\n"
        "b      failed      -  -              -  -       -         exit-code 78 (configuration) · "
        "evil[31mline\n");
}

TEST_CASE("node view: a line for what became of a node") {
  using Kind = NodeOutcome::Kind;
  CHECK(outcome_line(outcome(Kind::done), Verb::start) == "a  running, pid 77 (0.3s)");
  CHECK(outcome_line(outcome(Kind::done), Verb::stop) == "a  stopped (0.3s)");
  CHECK(outcome_line(outcome(Kind::done, "did not end within 30s and was killed"), Verb::stop) ==
        "a  stopped (0.3s): did not end within 30s and was killed");
  CHECK(outcome_line(outcome(Kind::unchanged, "is running already"), Verb::start) ==
        "a  is running already, pid 77");
  CHECK(outcome_line(outcome(Kind::unchanged, "is stopped already"), Verb::stop) == "a  is stopped already");
  CHECK(outcome_line(outcome(Kind::queued), Verb::stop) == "a  stopping");
  CHECK(outcome_line(outcome(Kind::failed, "a long story"), Verb::start) == "a  failed (0.3s)");
  CHECK(outcome_line(outcome(Kind::done), Verb::reload) == "a  reloaded, pid 77 (0.3s)");
  CHECK(outcome_line(outcome(Kind::queued), Verb::reload) == "a  reloading, pid 77");
  auto without_pid = outcome(Kind::done);
  without_pid.pid = 0;
  CHECK(outcome_line(without_pid, Verb::enable) == "a  enabled (0.3s)");
  CHECK(outcome_line(without_pid, Verb::disable) == "a  disabled (0.3s)");
  without_pid.kind = Kind::untouched;
  CHECK(outcome_line(without_pid, Verb::restart) == "a  not touched");
}

TEST_CASE("node view: every key is there, and null for what is not known") {
  CHECK(to_json(busy()) == Json{{"node", "web-1"},
                                {"state", "running"},
                                {"detail", nullptr},
                                {"pid", 1234},
                                {"uptimeSeconds", 7507},
                                {"restarts", 0},
                                {"memoryBytes", 12'900'000},
                                {"status", "3/8 busy · 1,284 done · 2 failed · default, mail"},
                                {"watchdogAgeMs", 1500},
                                {"unit", "stem-worker@web-1.service"},
                                {"pidfile", nullptr},
                                {"logfile", nullptr}});
  auto failed = outcome(NodeOutcome::Kind::failed, "did not start");
  failed.code = Exit::config;
  failed.log = {"one", "two"};
  failed.log_source = "journalctl -u a";
  CHECK(to_json(failed, Verb::start) == Json{{"node", "a"},
                                             {"state", "failed"},
                                             {"changed", false},
                                             {"pid", 77},
                                             {"tookMs", 340},
                                             {"message", "did not start"},
                                             {"exitStatus", 78},
                                             {"log", {"one", "two"}},
                                             {"logSource", "journalctl -u a"}});
}
