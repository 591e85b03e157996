#pragma once

#include <algorithm>
#include <stem/time.hpp>

namespace stem {

/// When a listener looks at its channels again. One thread.
class Hearing {
 public:
  SteadyTime next() const { return next_; }
  /// Something may have been said. A busy queue rings the same bell, so that it is heard up to `pause` later,
  /// and looking costs nothing.
  void wake() { next_ = std::min(next_, heard_at_ + pause); }
  /// At once if there was more than could be heard; else who says something and dies before it rings is heard
  /// `recheck` later.
  void heard(SteadyTime now, bool more = false) {
    heard_at_ = now;
    next_ = more ? now : now + recheck;
  }
  /// There is nothing to listen on.
  void never() { next_ = SteadyTime::max(); }

 private:
  static constexpr Duration pause = std::chrono::milliseconds{20};
  static constexpr Duration recheck = std::chrono::seconds{5};

  SteadyTime heard_at_{}, next_{};
};

}  // namespace stem
