#pragma once

#include <optional>
#include <stem/json.hpp>
#include <string>
#include <vector>

#include "scheduler/leader_lock.hpp"
#include "scheduler/schedule_book.hpp"

namespace stem::cli {

/// How schedules are kept to: what is due next, how punctual the last runs were, and who publishes them.
struct ScheduleSample {
  WallTime at{};
  std::vector<BookedSchedule> schedules;  ///< those that come next first, those that never come last
  std::optional<LeaderLock::Holder> leader;
  std::optional<Duration> silence;  ///< how long the leader has been seen not to say that it leads

  /// Whether it has had its time to say so.
  bool leader_is_silent() const {
    return leader && silence && *silence > leader->period && leader->period > Duration::zero();
  }
};

/// One look after another: a leader lives as long as its lock changes.
class ScheduleWatch {
 public:
  explicit ScheduleWatch(const Clock& clock = Clock::system()) : clock_(clock) {}
  ScheduleSample look(ScheduleBook& book, Store& store);

 private:
  const Clock& clock_;
  std::int64_t version_ = 0;
  SteadyTime since_{};
};

/// A schedule that is due for so long is overdue.
inline constexpr Duration overdue_after = std::chrono::seconds{10};

/// One row a schedule, and a line that sums up, for people.
std::string schedule_watch_table(const ScheduleSample& sample);
/// `schedules enabled failing overdue misfires maxDriftMs nextRunAt leader{title since silentMs}`,
/// `entries[]` as of `stem schedule list`.
Json to_json(const ScheduleSample& sample);

}  // namespace stem::cli
