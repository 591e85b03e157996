#pragma once

#include <optional>
#include <stem/envelope.hpp>
#include <vector>

#include "scheduler/beat_options.hpp"
#include "scheduler/schedule_line.hpp"
#include "telemetry/enqueue_span.hpp"

namespace stem {

/// What becomes of one schedule in one commit.
struct Firing {
  ScheduleLine::Known* item = nullptr;
  ScheduleRun run{};              ///< what is to be remembered
  std::optional<WallTime> due{};  ///< when it is due next
  std::vector<Envelope> jobs{};
  bool missed = false;               ///< slots were too late
  std::size_t given_up = 0;          ///< slots whose jobs cannot be made; logged, and in `run`
  std::vector<Duration> drifts{};    ///< of the jobs
  std::vector<EnqueueSpan> spans{};  ///< of the jobs, null where none is recorded
};

/// The slots of a schedule that are due, as the options say, up to a few hundred at once. Throws Error if the
/// schedule cannot be read.
Firing firing_of(ScheduleLine::Known& item, WallTime now, const BeatOptions& options);

}  // namespace stem
