#pragma once

#include <iosfwd>
#include <stem/json.hpp>
#include <string>
#include <vector>

#include "scheduler/schedule_book.hpp"
#include "scheduler/schedule_plan.hpp"

namespace stem::cli {

/// `in 5m 3s`, `2h 5m ago`, `now`.
std::string in_words(WallTime time, WallTime now);
/// ISO 8601 with the zone's offset: `2025-01-02T04:00:00.000+01:00`; in UTC as format_time().
std::string in_zone(WallTime time, const TimeZone& zone);

/// `on`, `off`, or why it does not run any more.
std::string state_of(const BookedSchedule& schedule);

/// One row a schedule, for people.
std::string schedule_table(const std::vector<BookedSchedule>& schedules, WallTime now);
/// The schedule, what became of it, and what comes next.
Json to_json(const BookedSchedule& schedule);

/// What a plan would do, one line a change and one a difference; schedules that stay are only counted.
std::string plan_text(const SchedulePlan& plan);
/// `{"added": […], "changed": […], "unchanged": […], "removed": […], "applied": …}`.
Json to_json(const SchedulePlan& plan, bool applied);
/// `2 added, 1 changed, 3 unchanged`.
std::string plan_summary(const SchedulePlan& plan);

}  // namespace stem::cli
