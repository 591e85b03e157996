#pragma once

#include <cstdint>
#include <stem/time.hpp>

namespace stem {

/// Instants as stores keep them: microseconds since the epoch.
inline std::int64_t micros(WallTime time) {
  return time.time_since_epoch().count();
}
inline WallTime wall_time(std::int64_t micros) {
  return WallTime(Duration(micros));
}

}  // namespace stem
