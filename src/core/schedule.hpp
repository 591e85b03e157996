#pragma once

#include <optional>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "core/cron.hpp"
#include "core/solar.hpp"
#include "core/time_zone.hpp"

namespace stem {

/// Runs `every` so long, counted from startAt, or else from when the schedule came into force: so runs never
/// drift.
struct Interval {
  Duration every{};
};
/// Runs when the clocks of the schedule's zone match.
struct ClockTimes {
  enum class Form { cron, calendar };
  Form form = Form::cron;
  std::string cron;              ///< the line, as it was written
  std::string description;       ///< of the line, for people
  ClockPattern::Calendar lists;  ///< of a calendar
  ClockPattern pattern;
};
/// Runs at a moment of the sun's day, moved by `offset`.
struct SolarTimes {
  SolarEvent event = SolarEvent::sunrise;
  Place place;
  Duration offset{};
};
/// Runs once.
struct Once {
  WallTime at{};
};

/// When something runs, as a value. A run is known by its slot: the instant it is planned for. Which slots
/// there are depends on the schedule alone, so every process that looks finds the same.
class Schedule {
 public:
  /// Reads `every:30s`, `@daily`, a cron line, or the object form of docs/schedules.md. Throws Error (exit
  /// 65).
  static Schedule parse(const Json& spec);
  /// As parse(), of a text on the command line.
  static Schedule parse_text(std::string_view text);

  /// The object form, which parse() reads back.
  Json to_json() const;
  /// `every 30s`, `0 4 * * *`, `sunrise @52.5,13.4 +30m`, `once 2025-01-02T03:04:05.000Z`.
  std::string text() const;

  /// The first slot after `after`, but not before startAt, nor at or after endAt; empty if there is no more.
  /// `origin` is what an interval without startAt counts from; its first slot is one interval later.
  std::optional<WallTime> next(WallTime after, const TimeZone& zone, WallTime origin) const;

  const std::optional<WallTime>& start_at() const { return start_at_; }
  const std::optional<WallTime>& end_at() const { return end_at_; }
  bool once() const { return std::holds_alternative<Once>(when_); }

 private:
  std::optional<WallTime> next_of(WallTime after, const TimeZone& zone, WallTime origin) const;

  std::variant<Interval, ClockTimes, SolarTimes, Once> when_;
  std::optional<WallTime> start_at_, end_at_;
};

/// A part of `spread`, from 0 to all of it, that is chance's as far as anyone can tell but the same for the
/// same name and slot.
Duration jitter_of(std::string_view name, WallTime slot, Duration spread);

/// The id of the job of one slot: `NAME@2025-01-02T03:04:05.678Z`. Never the same for two slots, always for
/// one.
std::string slot_id(std::string_view name, WallTime slot);

}  // namespace stem
