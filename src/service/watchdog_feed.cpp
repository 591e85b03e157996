#include "service/watchdog_feed.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/log_event.hpp"

namespace stem {

using namespace std::chrono_literals;

void WatchdogFeed::begin(SteadyTime now) {
  running_ = true;
  fed_at_ = now;
}

void WatchdogFeed::look(const Vitals& vitals, SteadyTime now) {
  const auto limit = notify_.watchdog_limit();
  std::string stuck;
  for (const auto& part : vitals.stuck) stuck += (stuck.empty() ? "" : "; ") + part;
  if (stuck != stuck_) {
    const LogEvent event(stuck.empty() ? nullptr : LogEvent::no_progress);
    if (stuck.empty())
      spdlog::info("all parts make progress again");
    else
      spdlog::error("no progress: {}{}", stuck,
                    !limit     ? "; no watchdog is set for this service"
                    : running_ ? "; the watchdog is not fed any more"
                               : "");
    stuck_ = stuck;
  }
  if (!limit || !running_ || !stuck.empty() || vitals.feeds_watchdog) return;
  if (now - fed_at_ < *limit / 2 - std::min<Duration>(*limit / 10, 200ms) && fed_once_) return;
  notify_.watchdog();
  fed_at_ = now;
  fed_once_ = true;
}

std::optional<Duration> WatchdogFeed::pause(SteadyTime now) const {
  const auto limit = notify_.watchdog_limit();
  if (!limit || !running_) return std::nullopt;
  if (!stuck_.empty()) return std::min<Duration>(1s, *limit / 8);  // it may recover before the limit
  const auto due = std::chrono::duration_cast<Duration>(fed_at_ + *limit / 2 - now);
  return due > 0s ? due : *limit / 2;
}

Json WatchdogFeed::facts(SteadyTime now) const {
  const auto ms = [](auto length) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(length).count();
  };
  const auto limit = notify_.watchdog_limit();
  return {{"enabled", limit.has_value()},
          {"limitMs", limit ? Json(ms(*limit)) : Json()},
          {"ageMs", limit && fed_once_ ? Json(ms(now - fed_at_)) : Json()}};
}

}  // namespace stem
