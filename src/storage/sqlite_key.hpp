#pragma once

#include <cstdint>

namespace stem {

/// The key of a job's row: zone, queue, lane and number packed so that the order of keys is the order of
/// fetching. A job that changes zone gets a new key; within a lane, numbers grow in the order in which jobs
/// became ready.
///
///     62 61 60        44 43   40 39        0
///     zone  queue        lane    number
class SqliteKey {
 public:
  enum class Zone : std::int64_t {
    ready = 0,
    delayed = 1,
    dead = 2
  };  // leased jobs are in `ready`, under a lease

  explicit constexpr SqliteKey(std::int64_t value) : value_(value) {}
  constexpr SqliteKey(Zone zone, std::int64_t queue, std::int64_t lane, std::int64_t number)
      : value_(static_cast<std::int64_t>(zone) << zone_at | queue << queue_at | lane << lane_at | number) {}

  constexpr std::int64_t value() const { return value_; }
  constexpr Zone zone() const { return static_cast<Zone>(value_ >> zone_at); }
  constexpr std::int64_t queue() const { return value_ >> queue_at & last_queue; }
  constexpr std::int64_t lane() const { return value_ >> lane_at & last_lane; }
  constexpr std::int64_t number() const { return value_ & last_number; }

  /// The last key that the lane, or the queue's part of the zone, can have; the first has number and lane 0.
  constexpr std::int64_t end_of_lane() const { return value_ | last_number; }
  constexpr std::int64_t end_of_queue() const { return value_ | last_lane << lane_at | last_number; }

  /// Lanes in the order of fetching: priority 9 is lane 0.
  static constexpr std::int64_t lane_of(int priority) { return 9 - priority; }

  static constexpr std::int64_t last_queue = (std::int64_t{1} << 17) - 1;
  static constexpr std::int64_t last_lane = 15;
  static constexpr std::int64_t last_number = (std::int64_t{1} << 40) - 1;

 private:
  static constexpr int zone_at = 61, queue_at = 44, lane_at = 40;
  std::int64_t value_;
};

}  // namespace stem
