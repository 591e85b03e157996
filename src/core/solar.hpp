#pragma once

#include <optional>
#include <stem/time.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// Moments of the sun's day.
enum class SolarEvent {
  dawn_astronomical,
  dawn_nautical,
  dawn_civil,
  sunrise,
  noon,
  sunset,
  dusk_civil,
  dusk_nautical,
  dusk_astronomical
};

const char* to_string(SolarEvent event);
/// Throws Error (exit 65) with the nearest known word.
SolarEvent solar_event_from(std::string_view word);

/// A place on Earth, in degrees; north and east are positive.
struct Place {
  double latitude = 0, longitude = 0;

  friend bool operator==(const Place&, const Place&) = default;
};

/// When the event happens at `place` on the solar day around noon of `date` there, to the second. Empty where
/// the sun does not rise, set or sink so low that day. The equations are those of NOAA's Solar Calculator,
/// after Meeus, "Astronomical Algorithms"; right to about a minute between the polar circles and from 1800 to
/// 2100.
std::optional<WallTime> solar_time(SolarEvent event, const Place& place, std::chrono::sys_days date);

/// The first one after `after`; empty if there is none within 400 days.
std::optional<WallTime> next_solar(SolarEvent event, const Place& place, WallTime after);

}  // namespace stem
