#include "service/watchdog_feed.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/log_event.hpp"

namespace stem {

using namespace std::chrono_literals;

void WatchdogFeed::begin(SteadyTime now) {
  running_ = true;
  since_ = now;
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
    is_stuck_ = !stuck.empty();
  }
  if (!limit || !running_ || !stuck.empty() || vitals.feeds_watchdog) return;
  const auto fed = age(now);
  if (fed && *fed < *limit / 2 - std::min<Duration>(*limit / 10, 200ms)) return;
  notify_.watchdog();
  fed_at_ = now.time_since_epoch().count();
  ++pings_;
}

std::optional<Duration> WatchdogFeed::pause(SteadyTime now) const {
  const auto limit = notify_.watchdog_limit();
  if (!limit || !running_) return std::nullopt;
  if (!stuck_.empty()) return std::min<Duration>(1s, *limit / 8);  // it may recover before the limit
  const auto due = *limit / 2 - age(now).value_or(std::chrono::duration_cast<Duration>(now - since_));
  return due > 0s ? due : *limit / 2;
}

Json WatchdogFeed::facts(SteadyTime now) const {
  const auto ms = [](auto length) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(length).count();
  };
  const auto limit = notify_.watchdog_limit();
  const auto fed = age(now);
  return {{"enabled", limit.has_value()},
          {"limitMs", limit ? Json(ms(*limit)) : Json()},
          {"ageMs", limit && fed ? Json(ms(*fed)) : Json()}};
}

std::optional<Duration> WatchdogFeed::age(SteadyTime now) const {
  if (pings_ == 0) return std::nullopt;
  return std::chrono::duration_cast<Duration>(now - SteadyTime{SteadyTime::duration{fed_at_}});
}

}  // namespace stem
