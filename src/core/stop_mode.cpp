#include "core/stop_mode.hpp"

namespace stem {

const char* to_string(StopMode mode) {
  return mode == StopMode::warm ? "warm" : mode == StopMode::soft ? "soft" : "hard";
}

std::optional<StopMode> stop_mode_from(std::string_view word) {
  for (const auto mode : {StopMode::warm, StopMode::soft, StopMode::hard})
    if (word == to_string(mode)) return mode;
  return std::nullopt;
}

}  // namespace stem
