#include "cli/worker_view.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <stem/error.hpp>

#include "cli/fleet_view.hpp"
#include "cli/node_view.hpp"
#include "cli/table.hpp"

namespace stem::cli {
namespace {

std::string uptime_cell(const Heartbeat& beat, WallTime now) {
  const auto found = beat.facts.find("startedAt");
  if (found == beat.facts.end() || !found->is_string()) return "-";
  try {
    return human_duration(std::max(Duration::zero(), now - parse_time(found->get<std::string>())));
  } catch (const Error&) {
    return "-";
  }
}

std::string busy_cell(const Json& facts) {
  return number_cell(facts, "busy") + "/" + number_cell(facts, "concurrency");
}

bool lives(const std::vector<Heartbeat>& beats, const std::string& node) {
  return std::any_of(beats.begin(), beats.end(), [&](const auto& beat) { return beat.node == node; });
}

}  // namespace

std::string worker_table(const std::vector<Heartbeat>& beats, WorkerColumns columns, WallTime now) {
  const bool pace = columns == WorkerColumns::pace;
  std::vector<std::string> headings{"WORKER", "HOST",      "STATE", "PID",   "UP",
                                    "BUSY",   "IN FLIGHT", "DONE",  "FAILED"};
  if (pace) headings.insert(headings.end(), {"DONE/S", "FAILED/S"});
  headings.insert(headings.end(), {"MEMORY", "QUEUES", "PAUSED", "SEEN"});
  Table table(headings);
  for (const auto& beat : beats) {
    const auto& facts = beat.facts;
    std::vector<std::string> row{beat.node,
                                 plain(beat.host),
                                 beat.stale(now) ? "late" : "alive",
                                 number_cell(facts, "pid"),
                                 uptime_cell(beat, now),
                                 busy_cell(facts),
                                 number_cell(facts, "inflight"),
                                 number_cell(facts, "completed"),
                                 number_cell(facts, "failed")};
    if (pace) {
      const auto recent = recent_pace(beat);
      row.push_back(pace_cell(recent ? std::optional(recent->done) : std::nullopt));
      row.push_back(pace_cell(recent ? std::optional(recent->failed) : std::nullopt));
    }
    row.insert(row.end(), {bytes_cell(facts, "memoryBytes"), list_cell(facts, "queues"),
                           list_cell(facts, "pausedQueues"),
                           human_duration(std::max(Duration::zero(), now - beat.at)) + " ago"});
    table.add(std::move(row));
  }
  return table.text();
}

std::string worker_line(const Heartbeat& beat, WallTime now) {
  const auto& facts = beat.facts;
  const auto paused = list_cell(facts, "pausedQueues");
  return format_time(beat.at) + "  " + beat.node + "  up " + uptime_cell(beat, now) + "  " +
         busy_cell(facts) + " busy  " + number_cell(facts, "inflight") + " in flight  " +
         number_cell(facts, "completed") + " done  " + number_cell(facts, "failed") + " failed" +
         (paused == "-" ? "" : "  paused " + paused);
}

Json to_json(const Heartbeat& beat, WorkerColumns columns, WallTime now) {
  auto json = stem::to_json(beat);
  json["stale"] = beat.stale(now);
  json["ageMs"] = duration_cast<std::chrono::milliseconds>(now - beat.at).count();
  if (columns == WorkerColumns::pace) {
    const auto recent = recent_pace(beat);
    json["donePerSecond"] = recent ? Json(recent->done) : Json();
    json["failedPerSecond"] = recent ? Json(recent->failed) : Json();
  }
  return json;
}

std::string absence(const std::vector<Heartbeat>& beats, const std::vector<std::string>& nodes,
                    const std::string& name_space) {
  if (beats.empty())
    return "no " + std::string(nodes.empty() ? "worker" : "such worker") + " of namespace " + name_space +
           " lives\n";
  std::string text;
  for (const auto& node : nodes)
    if (!lives(beats, node)) text += node + " does not live\n";
  return text;
}

int status_of(const std::vector<Heartbeat>& beats, const std::vector<std::string>& nodes, WallTime now) {
  const bool well = !beats.empty() && std::none_of(beats.begin(), beats.end(), [&](const auto& beat) {
    return beat.stale(now);
  }) && std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) { return lives(beats, node); });
  return static_cast<int>(well ? Exit::ok : Exit::unhealthy);
}

std::optional<Pace> recent_pace(const Heartbeat& beat) {
  const auto recent = beat.facts.find("recent");
  if (recent == beat.facts.end() || !recent->is_object()) return std::nullopt;
  const auto number = [&](const char* key) {
    const auto found = recent->find(key);
    return found != recent->end() && found->is_number_integer() ? std::max(found->get<double>(), 0.0) : 0;
  };
  const auto seconds = number("ms") / 1000;
  if (seconds <= 0) return std::nullopt;
  return Pace{number("completed") / seconds, (number("failed") + number("retried")) / seconds};
}

std::string pace_cell(std::optional<double> a_second) {
  if (!a_second || !std::isfinite(*a_second)) return "-";
  if (*a_second < 0.05) return "0";
  char text[40];
  std::snprintf(text, sizeof text, *a_second < 9.95 ? "%.1f" : "%.0f", *a_second);
  std::string digits = text;
  if (digits.find('.') == std::string::npos)
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
      digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

}  // namespace stem::cli
