#pragma once

#include <optional>
#include <stem/envelope.hpp>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>

#include "core/schedule.hpp"

namespace stem {

/// What runs, when, and how: one schedule as people write it. Its stored form is version 1 of
/// docs/schedules.md.
struct ScheduleEntry {
  std::string name;  ///< is_name(), at most 90 characters, since it is part of each job's id
  std::string task;
  std::string queue;  ///< empty = the default queue
  Schedule schedule;
  TimeZone zone;
  Json args = Json::object();
  Json meta = Json::object();  ///< goes into each job's meta
  int priority = 0;
  std::optional<int> max_retries;
  bool enabled = true;
  bool run_once = false;              ///< nothing after the first run
  Duration jitter{};                  ///< each run is put off by up to so much, the same for every scheduler
  std::optional<WallTime> expire_at;  ///< no slot at or after it

  WallTime since{};  ///< slots up to here do not count: when it came into force, or was enabled
  WallTime created_at{}, updated_at{};

  /// The first slot after `after` that counts; empty if there is none.
  std::optional<WallTime> next_slot(WallTime after) const;
  /// When the slot's job is published: jitter after it.
  WallTime due(WallTime slot) const { return slot + jitter_of(name, slot, jitter); }

  /// The job of a slot. `queue` and `max_retries` are for what the entry leaves open.
  Envelope job(WallTime slot, WallTime now, const std::string& default_queue, int default_max_retries) const;
};

/// Throws Error (exit 65): the key and the rule. Unknown keys are refused; `name` has to be there. What a
/// person does not write is left at its default; whether `enabled` was there is told by `says_enabled`.
ScheduleEntry schedule_entry_from(const Json& object, bool* says_enabled = nullptr);
/// What a person would write, without the times that the book keeps. schedule_entry_from() reads it back.
Json to_json(const ScheduleEntry& entry);

/// The stored form, all in one line. Throws Error (exit 65).
std::string to_wire(const ScheduleEntry& entry);
ScheduleEntry schedule_entry_from_wire(std::string_view wire);

/// What became of a schedule so far. Written by the scheduler that leads, in one commit with the jobs that it
/// tells of.
struct ScheduleRun {
  std::optional<WallTime> since;      ///< the entry's since, whose slots the next two are
  std::optional<WallTime> slot;       ///< all slots up to this one are dealt with
  std::optional<WallTime> last_run;   ///< when the last job was published
  std::optional<WallTime> last_slot;  ///< whose it was
  Duration drift{};                   ///< of the last one: published minus due
  std::int64_t runs = 0;
  std::int64_t misfires = 0;  ///< times that slots were passed over, because nobody published them in time
  std::string error;          ///< of the last slot; empty = fine

  /// Makes this the run of `entry`: one that came into force at another time has had no slot yet. So an edit
  /// ends the silence after a clock that was far ahead.
  void begin(const ScheduleEntry& entry);

  friend bool operator==(const ScheduleRun&, const ScheduleRun&) = default;
};
std::string to_wire(const ScheduleRun& run);
/// Throws Error (exit 65).
ScheduleRun schedule_run_from_wire(std::string_view wire);
Json to_json(const ScheduleRun& run);

/// The next slot of an entry that has got as far as `run`; empty if it has no more, is disabled, or has had
/// its one run.
std::optional<WallTime> next_slot(const ScheduleEntry& entry, const ScheduleRun& run);

}  // namespace stem
