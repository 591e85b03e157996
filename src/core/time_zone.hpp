#pragma once

#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// Clock times of a place: what a person there reads off the wall. No zone, no offset.
using LocalTime = std::chrono::local_time<Duration>;

/// A stretch of time in which a zone's clocks are the same distance from UTC.
struct ZoneStretch {
  WallTime begin, end;            ///< end is the first instant that does not belong to it
  std::chrono::seconds offset{};  ///< local time minus UTC
};

/// A time zone of the system's zoneinfo, by its IANA name. A small value; the database is read when the first zone other
/// than UTC is named, and only the files of the zones that are. After the last change that the file lists, in 2037, none follows.
class TimeZone {
 public:
  /// UTC.
  TimeZone() = default;
  /// Throws Error (exit 65): the name, and the nearest known one.
  static TimeZone named(const std::string& name);

  const std::string& name() const { return name_; }
  /// The stretch that `time` lies in.
  ZoneStretch at(WallTime time) const;
  LocalTime local(WallTime time) const { return LocalTime{time.time_since_epoch() + at(time).offset}; }

 private:
  std::string name_ = "UTC";
  const void* zone_ = nullptr;  // of the library, which keeps it for good; null = UTC
};

}  // namespace stem
