#pragma once

#include <string>

#include "storage/store.hpp"

namespace stem {

/// Makes the books of a canvas last for `life` from `now` if less than `least` is left of them: so they are
/// kept after its last progress, and not after its beginning, and a canvas that makes progress all the time
/// does not pay for it all the time. Returns until when they are kept. Throws Error as Store does.
WallTime keep_canvas(Store& store, const std::string& group, Duration life, Duration least, WallTime now);

}  // namespace stem
