#include <doctest/doctest.h>

#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"

using namespace stem;

namespace {

std::string words(const std::string& result, int status = 0) {
  UnitFacts facts;
  facts.result = result;
  facts.exit_status = status;
  return describe_failure(facts);
}

}  // namespace

TEST_CASE("unit facts: why a unit failed, in words") {
  CHECK(words("success") == "");
  CHECK(words("exit-code", 78) == "exit-code 78 (configuration)");
  CHECK(words("exit-code", 64) == "exit-code 64 (command line)");
  CHECK(words("exit-code", 69) == "exit-code 69 (broker or service unreachable)");
  CHECK(words("exit-code", 203) == "exit-code 203 (the program cannot be run)");
  CHECK(words("exit-code", 217) == "exit-code 217 (no such user)");
  CHECK(words("exit-code", 7) == "exit-code 7");
  CHECK(words("signal", 9) == "signal 9 (KILL)");
  CHECK(words("core-dump", 6) == "core-dump 6 (ABRT)");
  CHECK(words("watchdog") == "watchdog (no sign of progress within WatchdogSec=)");
  CHECK(words("timeout").starts_with("timeout ("));
  CHECK(words("start-limit-hit").starts_with("start-limit-hit ("));
  CHECK(words("something-new") == "something-new");
}

TEST_CASE("unit facts: a unit that could not be loaded says so first") {
  UnitFacts facts;
  facts.load_state = "not-found";
  CHECK(describe_failure(facts) == "the unit file is not installed");
  facts.load_state = "masked";
  CHECK(describe_failure(facts) == "masked");
  facts.load_state = "bad-setting";
  CHECK(describe_failure(facts) == "its unit file or a drop-in is wrong");
}

TEST_CASE("unit facts: a unit's name and its node") {
  CHECK(unit_of("web-1") == "stem-worker@web-1.service");
  CHECK(node_of("stem-worker@web-1.service") == "web-1");
  CHECK(node_of("stem-worker@a:b.c_d.service") == "a:b.c_d");
  CHECK(node_of("stem-worker@.service") == "");
  CHECK(node_of("stem-worker@a\\x2fb.service") == "");
  CHECK(node_of("ssh.service") == "");
}
