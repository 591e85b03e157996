#pragma once

#include <string>
#include <string_view>

#include "storage/broker.hpp"

namespace stem {

/// What lies in a queue's list of dead letters:
/// `{"envelope":…,"reason":…,"meta":…,"deadAt":…,"attempt":…,"bytes":…}`. `bytes` is the envelope's length,
/// so that it can be had back byte for byte.
std::string dead_text(const DeadJob& job);
/// Reads it, also as workers of other makes write it: without the last two.
DeadJob dead_from(std::string_view text, const std::string& queue);

}  // namespace stem
