#pragma once

#include <atomic>
#include <optional>
#include <string>

#include "service/notify.hpp"
#include "service/workload.hpp"

namespace stem {

/// Whether a service makes progress. What does not is named once in the log, and the manager's watchdog is
/// fed only while all parts do. Main thread only.
class WatchdogFeed {
 public:
  /// `notify` outlives it.
  explicit WatchdogFeed(Notify& notify) : notify_(notify) {}

  /// With READY=1: the manager counts from there.
  void begin(SteadyTime now);
  void look(const Vitals& vitals, SteadyTime now);
  /// It is not fed any more: the service stops.
  void end() { running_ = false; }
  /// How long the next look() can wait; empty = as long as you like, as far as the watchdog goes.
  std::optional<Duration> pause(SteadyTime now) const;
  /// For whoever asks after the service's health.
  Json facts(SteadyTime now) const;

  // The following are thread-safe.
  /// How often it was fed.
  std::uint64_t pings() const { return pings_; }
  /// Since it was last fed; empty if it never was.
  std::optional<Duration> age(SteadyTime now) const;
  std::optional<Duration> limit() const { return notify_.watchdog_limit(); }
  /// Whether the last look() found a part that makes no progress.
  bool stuck() const { return is_stuck_; }

 private:
  Notify& notify_;
  bool running_ = false;
  SteadyTime since_{};  // when the manager began to count
  std::atomic<std::uint64_t> pings_{0};
  std::atomic<SteadyTime::rep> fed_at_{0};
  std::string stuck_;
  std::atomic<bool> is_stuck_{false};
};

}  // namespace stem
