#include "core/solar.hpp"

#include <cmath>
#include <numbers>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

using namespace std::chrono;

struct Moment {
  SolarEvent event;
  const char* word;
  double zenith;  // degrees between the sun's centre and straight up; 90.833: refraction and the sun's radius
  int side;       // -1 before noon, 1 after, 0 noon itself
};
constexpr Moment moments[] = {
    {SolarEvent::dawn_astronomical, "dawn_astronomical", 108, -1},
    {SolarEvent::dawn_nautical, "dawn_nautical", 102, -1},
    {SolarEvent::dawn_civil, "dawn_civil", 96, -1},
    {SolarEvent::sunrise, "sunrise", 90.833, -1},
    {SolarEvent::noon, "noon", 0, 0},
    {SolarEvent::sunset, "sunset", 90.833, 1},
    {SolarEvent::dusk_civil, "dusk_civil", 96, 1},
    {SolarEvent::dusk_nautical, "dusk_nautical", 102, 1},
    {SolarEvent::dusk_astronomical, "dusk_astronomical", 108, 1},
};

const Moment& moment_of(SolarEvent event) {
  return moments[static_cast<std::size_t>(event)];
}

constexpr double radians = std::numbers::pi / 180;
double sin_of(double degrees) {
  return std::sin(degrees * radians);
}
double cos_of(double degrees) {
  return std::cos(degrees * radians);
}
double tan_of(double degrees) {
  return std::tan(degrees * radians);
}

/// Where the sun stands at one instant.
struct Sun {
  double declination;       // degrees
  double equation_of_time;  // minutes by which a sundial is ahead of a clock

  explicit Sun(double unix_days) {
    const double century = (unix_days + 2440587.5 - 2451545.0) / 36525;  // Julian, since J2000
    const double mean_longitude = std::fmod(280.46646 + century * (36000.76983 + century * 0.0003032), 360);
    const double anomaly = 357.52911 + century * (35999.05029 - century * 0.0001537);
    const double eccentricity = 0.016708634 - century * (0.000042037 + century * 0.0000001267);
    const double centre = sin_of(anomaly) * (1.914602 - century * (0.004817 + century * 0.000014)) +
                          sin_of(2 * anomaly) * (0.019993 - century * 0.000101) +
                          sin_of(3 * anomaly) * 0.000289;
    const double node = 125.04 - 1934.136 * century;
    const double longitude = mean_longitude + centre - 0.00569 - 0.00478 * sin_of(node);
    const double mean_obliquity =
        23 + (26 + (21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))) / 60) / 60;
    const double obliquity = mean_obliquity + 0.00256 * cos_of(node);
    declination = std::asin(sin_of(obliquity) * sin_of(longitude)) / radians;
    const double y = tan_of(obliquity / 2) * tan_of(obliquity / 2);
    equation_of_time =
        4 / radians *
        (y * sin_of(2 * mean_longitude) - 2 * eccentricity * sin_of(anomaly) +
         4 * eccentricity * y * sin_of(anomaly) * cos_of(2 * mean_longitude) -
         0.5 * y * y * sin_of(4 * mean_longitude) - 1.25 * eccentricity * eccentricity * sin_of(2 * anomaly));
  }
};

}  // namespace

const char* to_string(SolarEvent event) {
  return moment_of(event).word;
}

SolarEvent solar_event_from(std::string_view word) {
  std::vector<std::string_view> known;
  for (const auto& moment : moments) {
    if (word == moment.word) return moment.event;
    known.emplace_back(moment.word);
  }
  if (word == "solar_noon") return SolarEvent::noon;
  const auto near = nearest(word, known);
  throw Error(
      Exit::data,
      "unknown solar event '" + printable(word) + "'" +
          (near.empty() ? "; there are sunrise, noon, sunset, and dawn_civil, dusk_nautical and their like"
                        : "; did you mean " + std::string(near) + "?"));
}

std::optional<WallTime> solar_time(SolarEvent event, const Place& place, sys_days date) {
  const auto& moment = moment_of(event);
  const double midnight = static_cast<double>(date.time_since_epoch().count());
  // Minutes of the UTC day. What the sun does at the event itself decides when that is: three rounds are
  // enough.
  double minutes = 720 - 4 * place.longitude;
  for (int round = 0; round < 3; ++round) {
    const Sun sun(midnight + minutes / 1440);
    double angle = 0;
    if (moment.side != 0) {
      const double cosine = cos_of(moment.zenith) / (cos_of(place.latitude) * cos_of(sun.declination)) -
                            tan_of(place.latitude) * tan_of(sun.declination);
      if (!(cosine >= -1 && cosine <= 1)) return std::nullopt;
      angle = std::acos(cosine) / radians;
    }
    minutes = 720 - 4 * (place.longitude - moment.side * angle) - sun.equation_of_time;
  }
  return WallTime{date} + seconds{std::llround(minutes * 60)};
}

std::optional<WallTime> next_solar(SolarEvent event, const Place& place, WallTime after) {
  // At 180° the event of a day lies up to a day beside it.
  const auto start = floor<days>(after) - days{2};
  for (int day = 0; day < 402; ++day)
    if (const auto time = solar_time(event, place, start + days{day}); time && *time > after) return time;
  return std::nullopt;
}

}  // namespace stem
