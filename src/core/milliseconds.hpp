#pragma once

#include <cstdint>
#include <stem/time.hpp>

namespace stem {

/// A length in whole milliseconds, as JSON and messages tell it.
constexpr std::int64_t ms(Duration length) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(length).count();
}

}  // namespace stem
