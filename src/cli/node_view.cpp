#include "cli/node_view.hpp"

#include <cstdio>

#include "cli/table.hpp"

namespace stem::cli {
namespace {

using std::chrono::seconds;

std::string with_unit(double number, const char* unit) {
  char text[32];
  std::snprintf(text, sizeof text, number < 10 ? "%.1f%s" : "%.0f%s", number, unit);
  return text;
}

std::string word_of(const NodeOutcome& outcome, Verb verb) {
  using Kind = NodeOutcome::Kind;
  if (outcome.kind == Kind::failed) return "failed";
  if (outcome.kind == Kind::untouched) return "not touched";
  const bool queued = outcome.kind == Kind::queued;
  switch (verb) {
    case Verb::stop:
      return queued ? "stopping" : "stopped";
    case Verb::reload:
      return queued ? "reloading" : "reloaded";
    case Verb::enable:
      return "enabled";
    case Verb::disable:
      return "disabled";
    default:
      return queued ? "starting" : "running";
  }
}

/// Whether the pid is that of a worker that runs afterwards.
bool runs(const NodeOutcome& outcome, Verb verb) {
  return outcome.pid > 0 && verb != Verb::stop && outcome.kind != NodeOutcome::Kind::failed;
}

}  // namespace

std::string plain(const std::string& text) {
  std::string line;
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool second_set =
        byte(i) == 0xc2 && byte(i + 1) >= 0x80 && byte(i + 1) < 0xa0;  // some terminals obey these, too
    if (second_set)
      ++i;
    else if (byte(i) == '\t')
      line += ' ';
    else if (byte(i) >= 0x20 && byte(i) != 0x7f)
      line += text[i];
  }
  return line;
}

std::string human_duration(Duration length) {
  const auto whole = duration_cast<seconds>(length).count();
  const auto pair = [](std::int64_t big, const char* big_unit, std::int64_t small, const char* small_unit) {
    return std::to_string(big) + big_unit + (small ? " " + std::to_string(small) + small_unit : "");
  };
  if (whole >= 86400) return pair(whole / 86400, "d", whole % 86400 / 3600, "h");
  if (whole >= 3600) return pair(whole / 3600, "h", whole % 3600 / 60, "m");
  if (whole >= 60) return pair(whole / 60, "m", whole % 60, "s");
  if (whole >= 10) return std::to_string(whole) + "s";
  char text[32];
  std::snprintf(text, sizeof text, "%.1fs", static_cast<double>(length.count()) / 1e6);
  return text;
}

std::string human_bytes(std::uint64_t bytes) {
  const char* unit = "B";
  auto number = static_cast<double>(bytes);
  for (const char* next : {"K", "M", "G", "T"}) {
    if (number < 1024) break;
    number /= 1024;
    unit = next;
  }
  return *unit == 'B' ? std::to_string(bytes) + "B" : with_unit(number, unit);
}

std::string status_table(const std::vector<NodeState>& nodes) {
  Table table({"NODE", "STATE", "PID", "UPTIME", "RESTARTS", "MEMORY", "WATCHDOG", "STATUS"});
  for (const auto& node : nodes) {
    // A person wants to know why first, then what the worker last said.
    auto words = plain(node.detail);
    if (!node.status.empty()) words += (words.empty() ? "" : " · ") + plain(node.status);
    table.add({node.node, std::string(name_of(node.state)), node.pid > 0 ? std::to_string(node.pid) : "-",
               node.uptime ? human_duration(*node.uptime) : "-",
               node.restarts ? std::to_string(*node.restarts) : "-",
               node.memory ? human_bytes(*node.memory) : "-",
               node.watchdog_age ? human_duration(*node.watchdog_age) : "-", words});
  }
  return table.text();
}

std::string outcome_line(const NodeOutcome& outcome, Verb verb) {
  using Kind = NodeOutcome::Kind;
  const auto pid = runs(outcome, verb) ? ", pid " + std::to_string(outcome.pid) : std::string{};
  if (outcome.kind == Kind::unchanged) return outcome.node + "  " + outcome.message + pid;
  auto line = outcome.node + "  " + word_of(outcome, verb) + pid;
  if (outcome.kind == Kind::done || outcome.kind == Kind::failed)
    line += " (" + human_duration(outcome.took) + ")";
  // Why a node failed takes more than a line, and goes elsewhere.
  return outcome.message.empty() || outcome.kind == Kind::failed ? line : line + ": " + outcome.message;
}

Json to_json(const NodeState& state) {
  return {
      {"node", state.node},
      {"state", name_of(state.state)},
      {"detail", state.detail.empty() ? Json() : Json(state.detail)},
      {"pid", state.pid > 0 ? Json(state.pid) : Json()},
      {"uptimeSeconds", state.uptime ? Json(duration_cast<seconds>(*state.uptime).count()) : Json()},
      {"restarts", state.restarts ? Json(*state.restarts) : Json()},
      {"memoryBytes", state.memory ? Json(*state.memory) : Json()},
      {"status", state.status.empty() ? Json() : Json(state.status)},
      {"watchdogAgeMs", state.watchdog_age
                            ? Json(duration_cast<std::chrono::milliseconds>(*state.watchdog_age).count())
                            : Json()},
      {"unit", state.unit.empty() ? Json() : Json(state.unit)},
      {"pidfile", state.pidfile.empty() ? Json() : Json(state.pidfile)},
      {"logfile", state.logfile.empty() ? Json() : Json(state.logfile)},
  };
}

Json to_json(const NodeOutcome& outcome, Verb verb) {
  return {
      {"node", outcome.node},
      {"state", word_of(outcome, verb)},
      {"changed", outcome.kind == NodeOutcome::Kind::done || outcome.kind == NodeOutcome::Kind::queued},
      {"pid", outcome.pid > 0 ? Json(outcome.pid) : Json()},
      {"tookMs", duration_cast<std::chrono::milliseconds>(outcome.took).count()},
      {"message", outcome.message.empty() ? Json() : Json(outcome.message)},
      {"exitStatus", static_cast<int>(outcome.code)},
      {"log", outcome.log},
      {"logSource", outcome.log_source.empty() ? Json() : Json(outcome.log_source)},
  };
}

}  // namespace stem::cli
