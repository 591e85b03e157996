#pragma once

#include <stem/time.hpp>
#include <string>

namespace stem {

/// A UUIDv7 (RFC 9562, section 5.7), lower-case with hyphens: sorts by the millisecond of creation, and
/// within this process by the order of calls. Thread-safe.
std::string new_id(WallTime now);

}  // namespace stem
