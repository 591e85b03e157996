#pragma once

#include <string>
#include <vector>

#include "scheduler/schedule_book.hpp"

namespace stem {

/// One schedule as it stands in a file.
struct FiledSchedule {
  ScheduleEntry entry;
  std::size_t line = 0;       ///< where it begins, from 1
  bool says_enabled = false;  ///< whether the file says if it is enabled
};

/// What an edit would do to one schedule, for people.
struct PlannedChange {
  enum class Kind { add, change, keep, remove };
  Kind kind = Kind::keep;
  std::string name;
  std::vector<std::string> lines;  ///< `schedule: every 5m -> every 10m`
};

struct SchedulePlan {
  std::vector<PlannedChange> changes;  ///< sorted by name
  ScheduleEdit edit;                   ///< for ScheduleBook::commit()
};

/// What it takes to make the book hold `filed`; schedules of other names stay. One that does not change keeps
/// its times and whether it is enabled, unless the file says. One whose time of running changes comes into
/// force now.
SchedulePlan plan_apply(ScheduleBook& book, const std::vector<FiledSchedule>& filed, WallTime now);
/// Throws Error (exit 64) for a name that is not there, with the nearest one.
SchedulePlan plan_removal(ScheduleBook& book, const std::vector<std::string>& names);
/// Enabling one that has had its one run lets it run once more.
SchedulePlan plan_enabling(ScheduleBook& book, const std::vector<std::string>& names, bool enabled,
                           WallTime now);

/// The schedule of that name. Throws Error: 64 there is none, with the nearest name; 65 it cannot be read.
BookedSchedule require_schedule(ScheduleBook& book, const std::string& name);

}  // namespace stem
