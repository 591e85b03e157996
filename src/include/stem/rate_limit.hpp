#pragma once

#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// How many jobs of a task may begin in a time, on all workers of a namespace together. A token bucket: it
/// holds `burst` tokens at the most, gains `count` of them evenly over each `per`, and each beginning takes
/// one.
struct RateLimit {
  int count = 0;
  Duration per{};
  int burst = 0;  ///< 0 = `count`

  /// Reads `10/s`, `100/m`, `3/h`, `500/d`, and with a burst of its own `100/m burst 5`. Throws Error (exit
  /// 78) with the text and the accepted forms.
  static RateLimit parse(std::string_view text);
  int capacity() const { return burst > 0 ? burst : count; }
  /// Throws Error (exit 78) that names the field and its bounds.
  void validate() const;

  friend bool operator==(const RateLimit&, const RateLimit&) = default;
};

}  // namespace stem
