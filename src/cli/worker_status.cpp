#include <iostream>
#include <map>
#include <thread>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/worker_view.hpp"

namespace stem::cli {
namespace {

constexpr std::chrono::milliseconds look_every{500};

struct Options : FleetOptions {
  bool follow = false;
  Options() { timeout = std::chrono::seconds{30}; }
};

int snapshot(Fleet& fleet, const Options& options, const Common& common) {
  const auto beats = fleet.alive(options.workers);
  const auto now = Clock::system().wall();
  if (common.json) {
    auto rows = Json::array();
    for (const auto& beat : beats) rows.push_back(to_json(beat, WorkerColumns::status, now));
    std::cout << rows.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    if (!beats.empty()) std::cout << worker_table(beats, WorkerColumns::status, now);
    std::cout << absence(beats, options.workers, fleet.name_space());
  }
  return status_of(beats, options.workers, now);
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
      std::cout << (common.json ? to_json(beat, WorkerColumns::status, now)
                                      .dump(-1, ' ', false, Json::error_handler_t::replace)
                                : worker_line(beat, now))
                << '\n';
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
  add_duration(app, "--timeout", options->timeout,
               "with --follow: how long silence may last (30s); then exit 1");
  return [options, &common] { return status(*options, common); };
}

}  // namespace stem::cli
