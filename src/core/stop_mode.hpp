#pragma once

#include <optional>
#include <string_view>

namespace stem {

/// How a service is told to end. warm: finish what runs; soft: ask running handlers to stop, then as warm,
/// but not for longer than the soft limit; hard: put back what runs and end now.
enum class StopMode { warm, soft, hard };

/// `warm`, `soft` or `hard`.
const char* to_string(StopMode mode);
std::optional<StopMode> stop_mode_from(std::string_view word);

}  // namespace stem
