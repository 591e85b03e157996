#include <stem/error.hpp>

#include "core/schedule.hpp"
#include "target.hpp"

namespace {

/// Cron lines, intervals and durations; what was read has a form that reads the same, and its next slot lies
/// ahead.
bool check(const std::string& text) {
  try {
    const auto length = stem::parse_duration(text);
    require(stem::parse_duration(stem::format_duration(length)) == length, "a duration reads the same", text);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
  }
  try {
    const auto time = stem::parse_time(text);
    require(stem::parse_time(stem::format_time(time)) == time, "a time reads the same", text);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
  }
  try {
    const auto schedule = stem::Schedule::parse_text(text);
    const auto again = stem::Schedule::parse(schedule.to_json());
    require(again.to_json() == schedule.to_json(), "what was written reads the same", text);
    const auto now = stem::parse_time("2026-03-29T00:30:00Z");
    const auto next = schedule.next(now, stem::TimeZone{}, now);
    require(!next || *next > now, "the next slot lies ahead", text);
    require(next == again.next(now, stem::TimeZone{}, now), "both have the same slots", text);
    return true;
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::data, "a refusal is bad data", text);
    require_message(error.what(), text);
    return false;
  }
}

const Target schedule{"schedule", check};

}  // namespace
