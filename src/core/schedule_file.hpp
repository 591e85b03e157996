#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/schedule_entry.hpp"

namespace stem {

/// One schedule as it stands in a file.
struct FiledSchedule {
  ScheduleEntry entry;
  std::size_t line = 0;       ///< where it begins, from 1
  bool says_enabled = false;  ///< whether the file says if it is enabled
};

/// Reads the text of a schedule file, YAML or JSON: a list of schedules, or an object with the key `schedules`, and
/// perhaps `version: 1`. See docs/schedules.md. `file` is what messages call it. Throws Error (exit 65), which names file, line
/// and schedule; the first error is the one that is told.
std::vector<FiledSchedule> read_schedules(const std::string& file, const std::string& text);

}  // namespace stem
