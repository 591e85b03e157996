#include "cli/schedule_file.hpp"

#include <stem/error.hpp>

#include "target.hpp"

namespace {

bool check(const std::string& text) {
  try {
    for (const auto& filed : stem::cli::read_schedules("f", text)) {
      const auto wire = stem::to_wire(filed.entry);
      require(stem::to_wire(stem::schedule_entry_from_wire(wire)) == wire, "what was written reads the same",
              text);
    }
    return true;
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::data, "a refusal is bad data", text);
    require_message(error.what(), text);
    require(std::string(error.what()).starts_with("f:"), "a refusal names the file", text);
    return false;
  }
}

const Target schedule_file{"schedule-file", check};

}  // namespace
