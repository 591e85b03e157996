#include "cli/follow.hpp"

#include <iostream>
#include <thread>

namespace stem::cli {
namespace {

constexpr Duration usual_interval = std::chrono::seconds{2};
constexpr Duration shortest_interval = std::chrono::milliseconds{100};
constexpr Duration longest_interval = std::chrono::hours{24};

bool goes_on(const FollowOptions& options) {
  return options.follow || options.interval != Duration::zero();
}

/// What may pass.
bool is_away(const Error& error) {
  return error.code() == Exit::unavailable || error.code() == Exit::try_again;
}

}  // namespace

void add_follow(CLI::App& app, FollowOptions& options) {
  app.add_flag("-f,--follow", options.follow, "go on: look again and again");
  add_duration(app, "--interval", options.interval, "time from one look to the next (2s); includes --follow");
}

std::string json_text(const Json& value, const FollowOptions& options) {
  return value.dump(goes_on(options) ? -1 : 2, ' ', false, Json::error_handler_t::replace) + "\n";
}

int show_looks(const FollowOptions& options, const Common& common, const std::function<Look()>& look) {
  const auto interval = options.interval == Duration::zero() ? usual_interval : options.interval;
  if (interval < shortest_interval || interval > longest_interval)
    throw Error(Exit::usage, "--interval is from 100ms to 24h");
  auto last = look();
  if (!goes_on(options)) return std::cout << last.text, last.status;
  std::string trouble;
  for (bool first = true;; first = false) {
    if (trouble.empty()) {
      if (!common.json) std::cout << (first ? "" : "\n") << format_time(Clock::system().wall()) << '\n';
      std::cout << last.text << std::flush;
      if (!std::cout) return last.status;  // the program says so if it matters
    }
    std::this_thread::sleep_for(interval);
    try {
      last = look();
      if (!trouble.empty()) std::cerr << "it answers again\n";
      trouble.clear();
    } catch (const Error& error) {
      if (!is_away(error)) throw;
      if (trouble.empty()) std::cerr << error.what() << "; trying again\n";
      trouble = error.what();
    }
  }
}

}  // namespace stem::cli
