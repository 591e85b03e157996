#include "supervisor/unit_facts.hpp"

#include <csignal>
#include <cstring>
#include <stem/error.hpp>

namespace stem {
namespace {

/// What an exit status means, in two or three words; empty if nobody agreed on a meaning.
std::string exit_meaning(int status) {
  switch (static_cast<Exit>(status)) {
    case Exit::usage:
      return "command line";
    case Exit::data:
      return "bad data";
    case Exit::no_input:
      return "file missing";
    case Exit::unavailable:
      return "broker or service unreachable";
    case Exit::software:
      return "defect of Stem";
    case Exit::cannot_create:
      return "cannot create a file";
    case Exit::try_again:
      return "try again";
    case Exit::no_permission:
      return "permission";
    case Exit::config:
      return "configuration";
    default:
      break;
  }
  switch (status) {  // systemd.exec(5)
    case 200:
      return "cannot enter the working directory";
    case 203:
      return "the program cannot be run";
    case 206:
      return "cannot set the user's supplementary groups";
    case 209:
      return "cannot open standard output";
    case 216:
      return "no such group";
    case 217:
      return "no such user";
    case 226:
      return "cannot set up the mount namespace";
    case 228:
      return "cannot install the system call filter";
    case 233:
      return "cannot make the runtime directory";
    case 238:
      return "cannot make the state directory";
    case 240:
      return "cannot make the log directory";
    case 243:
      return "a credential is missing";
    default:
      return {};
  }
}

std::string with_meaning(const std::string& text, const std::string& meaning) {
  return meaning.empty() ? text : text + " (" + meaning + ")";
}

std::string signal_words(int number) {
  const char* name = sigabbrev_np(number);
  return std::to_string(number) + (name ? " (" + std::string(name) + ")" : "");
}

}  // namespace

std::string describe_failure(const UnitFacts& facts) {
  if (facts.load_state == "not-found") return "the unit file is not installed";
  if (facts.load_state == "masked") return "masked";
  if (facts.load_state == "bad-setting" || facts.load_state == "error")
    return "its unit file or a drop-in is wrong";

  const auto& result = facts.result;
  if (result.empty() || result == "success") return {};
  if (result == "exit-code")
    return with_meaning("exit-code " + std::to_string(facts.exit_status), exit_meaning(facts.exit_status));
  if (result == "signal" || result == "core-dump") return result + " " + signal_words(facts.exit_status);
  if (result == "timeout") return "timeout (it was not ready, or did not end, in time)";
  if (result == "watchdog") return "watchdog (no sign of progress within WatchdogSec=)";
  if (result == "protocol") return "protocol (it ended without saying that it is ready)";
  if (result == "start-limit-hit") return "start-limit-hit (it failed too often in a row)";
  if (result == "oom-kill") return "oom-kill (out of memory)";
  if (result == "resources")
    return "resources (systemd could not set up what the unit asks for, such as its environment file)";
  return result;
}

}  // namespace stem
