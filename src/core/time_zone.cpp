#include "core/time_zone.hpp"

#include <date/tz.h>

#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

/// Far enough to lie beyond every run, near enough that sums do not overflow.
constexpr WallTime first_instant{std::chrono::sys_days{std::chrono::year{1} / 1 / 1}};
constexpr WallTime last_instant{std::chrono::sys_days{std::chrono::year{9999} / 1 / 1}};

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  throw Error(Exit::data, "'" + printable(name) + "' is not a time zone" + why);
}

std::string similar(const std::string& name) {
  std::vector<std::string_view> known;
  for (const auto& zone : date::get_tzdb().zones) known.push_back(zone.name());
  const auto near = nearest(name, known);
  return near.empty() ? "; write a name of the zoneinfo database, such as Europe/Berlin or UTC"
                      : "; did you mean " + std::string(near) + "?";
}

}  // namespace

TimeZone TimeZone::named(const std::string& name) {
  TimeZone zone;
  if (name.empty() || name == "UTC" || name == "Etc/UTC" || name == "Z") return zone;
  zone.name_ = name;
  try {
    zone.zone_ = date::locate_zone(name);
  } catch (const std::exception&) {
    std::string hint;
    try {
      hint = similar(name);
    } catch (const std::exception&) {
      hint = ": the system has no zoneinfo database; install the package tzdata";
    }
    refuse(name, hint);
  }
  return zone;
}

ZoneStretch TimeZone::at(WallTime time) const {
  if (zone_ == nullptr) return {first_instant, last_instant, std::chrono::seconds{0}};
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto info = static_cast<const date::time_zone*>(zone_)->get_info(seconds);
  const auto bounded = [](auto instant) {
    return std::clamp<std::chrono::sys_seconds>(instant, std::chrono::floor<std::chrono::seconds>(first_instant),
                                                std::chrono::floor<std::chrono::seconds>(last_instant));
  };
  return {bounded(info.begin), bounded(info.end), info.offset};
}

}  // namespace stem
