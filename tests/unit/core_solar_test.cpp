#include <doctest/doctest.h>

#include <cmath>

#include "core/solar.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono;

namespace {

WallTime at(const std::string& time) {
  return parse_time(time);
}
double minutes_apart(WallTime a, WallTime b) {
  return std::abs(duration<double, std::ratio<60>>(a - b).count());
}

}  // namespace

// U.S. Naval Observatory, Astronomical Applications Dept., "Rise and Set for the Sun for 2023", Fredonia AZ,
// W112 31, N36 57, zone 7h west of Greenwich; https://aa.usno.navy.mil/calculated/rstt/year, the first of
// each month.
TEST_CASE("solar: sunrise and sunset as the U.S. Naval Observatory has them, to the minute") {
  struct Row {
    unsigned month;
    int rise_hour, rise_minute, set_hour, set_minute;
  };
  constexpr Row table[] = {{1, 7, 43, 17, 24}, {2, 7, 33, 17, 55},  {3, 7, 1, 18, 24},   {4, 6, 16, 18, 52},
                           {5, 5, 36, 19, 19}, {6, 5, 12, 19, 44},  {7, 5, 14, 19, 54},  {8, 5, 35, 19, 37},
                           {9, 6, 1, 18, 59},  {10, 6, 25, 18, 14}, {11, 6, 54, 17, 33}, {12, 7, 24, 17, 14}};
  const Place fredonia{36.0 + 57.0 / 60, -(112.0 + 31.0 / 60)};
  for (const auto& row : table) {
    CAPTURE(row.month);
    const sys_days date{year{2023} / month{row.month} / 1};
    const auto zone = hours{7};
    CHECK(minutes_apart(*solar_time(SolarEvent::sunrise, fredonia, date),
                        date + hours{row.rise_hour} + minutes{row.rise_minute} + zone) < 1);
    CHECK(minutes_apart(*solar_time(SolarEvent::sunset, fredonia, date),
                        date + hours{row.set_hour} + minutes{row.set_minute} + zone) < 1);
  }
}

TEST_CASE("solar: noon is in the middle between sunrise and sunset, not at midnight") {
  const Place london{51.5, -0.12};
  const sys_days date{year{2025} / 6 / 21};
  const auto noon = *solar_time(SolarEvent::noon, london, date);
  CHECK(minutes_apart(noon, at("2025-06-21T12:02:20Z")) < 1);
  const auto rise = *solar_time(SolarEvent::sunrise, london, date),
             set = *solar_time(SolarEvent::sunset, london, date);
  CHECK(minutes_apart(rise + (set - rise) / 2, noon) < 1);
}

TEST_CASE("solar: the events of a day come in their order") {
  const Place berlin{52.5, 13.4};
  std::optional<WallTime> before;
  for (const auto event : {SolarEvent::dawn_astronomical, SolarEvent::dawn_nautical, SolarEvent::dawn_civil,
                           SolarEvent::sunrise, SolarEvent::noon, SolarEvent::sunset, SolarEvent::dusk_civil,
                           SolarEvent::dusk_nautical, SolarEvent::dusk_astronomical}) {
    const auto time = solar_time(event, berlin, sys_days{year{2025} / 3 / 1});
    REQUIRE(time);
    if (before) CHECK(*before < *time);
    before = time;
    CHECK(solar_event_from(to_string(event)) == event);
  }
}

TEST_CASE(
    "solar: where the sun does not rise there is no sunrise, and the next one is after the polar night") {
  const Place tromso{69.65, 18.96};
  CHECK_FALSE(solar_time(SolarEvent::sunrise, tromso, sys_days{year{2024} / 12 / 21}));
  CHECK_FALSE(solar_time(SolarEvent::sunset, tromso, sys_days{year{2025} / 6 / 21}));
  CHECK(solar_time(SolarEvent::noon, tromso, sys_days{year{2024} / 12 / 21}));
  const auto next = next_solar(SolarEvent::sunrise, tromso, at("2024-12-01T00:00:00Z"));
  REQUIRE(next);
  CHECK(*next > at("2025-01-10T00:00:00Z"));
  CHECK(*next < at("2025-01-22T00:00:00Z"));
  // At the pole the sun rises once a year and never "at noon minus an angle": nothing, and no endless search.
  CHECK_FALSE(next_solar(SolarEvent::sunrise, {90, 0}, at("2025-01-01T00:00:00Z")));
}

TEST_CASE("solar: the next event is found once a day, at any longitude") {
  for (const double longitude : {-180.0, -120.0, -0.5, 13.4, 90.0, 179.9}) {
    CAPTURE(longitude);
    auto time = at("2025-01-01T00:00:00Z");
    for (int day = 0; day < 60; ++day) {
      const auto next = next_solar(SolarEvent::sunset, {40, longitude}, time);
      REQUIRE(next);
      if (day > 0) CHECK(minutes_apart(*next, time + hours{24}) < 3);
      time = *next;
    }
  }
}

TEST_CASE("solar: an unknown event is refused with the nearest one") {
  CHECK(error_of([] { solar_event_from("sunrize"); }).says("did you mean sunrise?"));
  CHECK(error_of([] { solar_event_from("x"); }).status == 65);
  CHECK(solar_event_from("solar_noon") == SolarEvent::noon);
}
