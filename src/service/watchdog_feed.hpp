#pragma once

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

 private:
  Notify& notify_;
  bool running_ = false, fed_once_ = false;
  SteadyTime fed_at_{};
  std::string stuck_;
};

}  // namespace stem
