#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace stem {

/// All lengths of time, in microseconds.
using Duration = std::chrono::microseconds;
/// Instants that are stored or shown: UTC, microseconds since the epoch.
using WallTime = std::chrono::sys_time<Duration>;
/// Instants for deadlines and ages: the monotonic clock, which no one sets.
using SteadyTime = std::chrono::steady_clock::time_point;

using std::chrono::duration_cast;

/// Where time comes from. Tests hand in one that they move; thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall() const;
  virtual SteadyTime steady() const;
  /// The machine's clocks.
  static const Clock& system();
};

/// Reads `250ms`, `5s`, `2m`, `1h`, `1d` and sums of them (`1m30s`); a bare number other than 0 is refused,
/// for its unit would be a guess. Throws Error (exit 64) with the text and the accepted forms.
Duration parse_duration(std::string_view text);
/// The shortest exact form that parse_duration reads back: `1m30s`, `250ms`, `0s`. Below a millisecond:
/// `15us`.
std::string format_duration(Duration length);

/// ISO 8601 in UTC with three fractional digits, six when the microsecond part is not zero:
/// `2025-01-02T03:04:05.678Z`.
std::string format_time(WallTime time);
/// Reads any ISO 8601 date-time; one without an offset is taken as UTC. Throws Error (exit 65).
WallTime parse_time(std::string_view text);

}  // namespace stem
