#pragma once

#include <optional>
#include <string_view>

#include "core/time_zone.hpp"

namespace stem {

/// What the clocks of a zone do year after year, as a TZ string says: `CET-1CEST,M3.5.0,M10.5.0/3`. POSIX,
/// with the hours from -167 to 167 that RFC 9636 allows in a zone's file.
class ZoneRule {
 public:
  /// Throws Error (exit 65).
  static ZoneRule parse(std::string_view text);

  /// The stretch that `time` lies in.
  ZoneStretch at(WallTime time) const;

 private:
  /// A day of the year, and a time on it by the clocks of before.
  struct Date {
    enum class Form { julian, zero_based, weekday } form = Form::weekday;
    int day = 0;                   // of the year; or the weekday, Sunday is 0
    unsigned month = 1, week = 1;  // week 5 is the last
    std::chrono::seconds time = std::chrono::hours{2};
    std::chrono::sys_seconds in(std::chrono::year year) const;
  };
  class Reader;

  std::chrono::seconds standard_{}, summer_{};  // local time minus UTC
  struct Changes {
    Date to_summer, to_standard;
  };
  std::optional<Changes> changes_;  // empty: no summer time
};

}  // namespace stem
