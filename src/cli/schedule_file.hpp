#pragma once

#include <string>
#include <vector>

#include "scheduler/schedule_plan.hpp"

namespace stem::cli {

/// Reads the text of a schedule file, YAML or JSON: a list of schedules, or an object with the key
/// `schedules`, and perhaps `version: 1`. See docs/schedules.md. `file` is what messages call it. Throws
/// Error (exit 65), which names file, line and schedule; the first error is the one that is told.
std::vector<FiledSchedule> read_schedules(const std::string& file, const std::string& text);

}  // namespace stem::cli
