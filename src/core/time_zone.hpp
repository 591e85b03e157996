#pragma once

#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// Clock times of a place: what a person there reads off the wall. No zone, no offset.
using LocalTime = std::chrono::local_time<Duration>;

/// A stretch of time in which a zone's clocks are the same distance from UTC.
struct ZoneStretch {
  WallTime begin, end;            ///< end is the first instant that does not belong to it
  std::chrono::seconds offset{};  ///< local time minus UTC
};

class ZoneFile;

/// A time zone of the system's zoneinfo, by its IANA name. A small value. The file of a zone is read when it
/// is first named, and kept; changes that it does not list follow the rule at its end, for ever.
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
  const ZoneFile* zone_ = nullptr;  // kept for good; null = UTC
};

}  // namespace stem
