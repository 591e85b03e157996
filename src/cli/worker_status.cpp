#include <algorithm>
#include <iostream>
#include <map>
#include <thread>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "cli/node_view.hpp"
#include "cli/table.hpp"

namespace stem::cli {
namespace {

constexpr std::chrono::milliseconds look_every{500};

struct Options : FleetOptions {
  bool follow = false;
  Options() { timeout = std::chrono::seconds{30}; }
};

const std::vector<std::string> headings{"WORKER", "HOST", "STATE", "PID", "UP", "BUSY", "IN FLIGHT", "DONE", "FAILED", "MEMORY", "QUEUES", "PAUSED", "SEEN"};

std::string uptime_cell(const Heartbeat& beat, WallTime now) {
  const auto found = beat.facts.find("startedAt");
  if (found == beat.facts.end() || !found->is_string()) return "-";
  try {
    return human_duration(std::max(Duration::zero(), now - parse_time(found->get<std::string>())));
  } catch (const Error&) {
    return "-";
  }
}

std::vector<std::string> row_of(const Heartbeat& beat, WallTime now) {
  const auto& facts = beat.facts;
  return {beat.node,
          plain(beat.host),
          beat.stale(now) ? "late" : "alive",
          number_cell(facts, "pid"),
          uptime_cell(beat, now),
          number_cell(facts, "busy") + "/" + number_cell(facts, "concurrency"),
          number_cell(facts, "inflight"),
          number_cell(facts, "completed"),
          number_cell(facts, "failed"),
          bytes_cell(facts, "memoryBytes"),
          list_cell(facts, "queues"),
          list_cell(facts, "pausedQueues"),
          human_duration(std::max(Duration::zero(), now - beat.at)) + " ago"};
}

Json row_json(const Heartbeat& beat, WallTime now) {
  auto json = to_json(beat);
  json["stale"] = beat.stale(now);
  json["ageMs"] = duration_cast<std::chrono::milliseconds>(now - beat.at).count();
  return json;
}

int snapshot(Fleet& fleet, const Options& options, const Common& common) {
  const auto beats = fleet.alive(options.workers);
  const auto now = Clock::system().wall();
  if (common.json) {
    auto rows = Json::array();
    for (const auto& beat : beats) rows.push_back(row_json(beat, now));
    std::cout << rows.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else if (beats.empty()) {
    std::cout << "no " << (options.workers.empty() ? "worker" : "such worker") << " of namespace " << fleet.name_space() << " lives\n";
  } else {
    Table table(headings);
    for (const auto& beat : beats) table.add(row_of(beat, now));
    std::cout << table.text();
  }
  bool well = !beats.empty() && std::none_of(beats.begin(), beats.end(), [&](const auto& beat) { return beat.stale(now); });
  for (const auto& node : options.workers)
    if (std::none_of(beats.begin(), beats.end(), [&](const auto& beat) { return beat.node == node; })) {
      well = false;
      if (!common.json && !beats.empty()) std::cout << node << " does not live\n";
    }
  return static_cast<int>(well ? Exit::ok : Exit::unhealthy);
}

/// A line for each heartbeat as it comes, until there is none for as long as the time-out.
int follow(Fleet& fleet, const Options& options, const Common& common) {
  std::map<std::string, WallTime> seen;
  const auto& clock = Clock::system();
  auto heard = clock.steady();
  while (clock.steady() - heard < options.timeout) {
    const auto now = clock.wall();
    for (const auto& beat : fleet.alive(options.workers)) {
      auto& last = seen[heartbeat_key(beat)];
      if (beat.at <= last) continue;
      last = beat.at;
      heard = clock.steady();
      if (common.json) {
        std::cout << row_json(beat, now).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
        continue;
      }
      const auto cells = row_of(beat, now);
      std::cout << format_time(beat.at) << "  " << cells[0] << "  up " << cells[4] << "  " << cells[5] << " busy  " << cells[6] << " in flight  "
                << cells[7] << " done  " << cells[8] << " failed" << (cells[11] == "-" ? "" : "  paused " + cells[11]) << '\n';
    }
    std::cout.flush();
    if (!std::cout) return 0;  // nobody reads any more; the program says so if it matters
    std::this_thread::sleep_for(look_every);
  }
  throw Error(Exit::unhealthy, "no heartbeat for " + format_duration(options.timeout));
}

int status(const Options& options, const Common& common) {
  auto fleet = open_fleet(fleet_config(options, common));
  return options.follow ? follow(fleet, options, common) : snapshot(fleet, options, common);
}

}  // namespace

Work define_worker_status(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_flag("-f,--follow", options->follow, "go on: a line for each heartbeat");
  add_fleet(app, *options);
  add_duration(app, "--timeout", options->timeout, "with --follow: how long silence may last (30s); then exit 1");
  return [options, &common] { return status(*options, common); };
}

}  // namespace stem::cli
