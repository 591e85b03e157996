#pragma once

#include <poll.h>

#include <algorithm>
#include <climits>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stem/time.hpp>
#include <utility>

namespace stem {

/// Lets any number of threads wait for what one watch hears: one of them listens, the others wait for it. A
/// watch has `int fd() const`, which polls readable once something was heard, and a thread-safe `clear()`,
/// after which it does not.
template <class Watch>
class WakeListener {
 public:
  template <class... Arguments>
  explicit WakeListener(Arguments&&... arguments) : watch_(std::forward<Arguments>(arguments)...) {}

  const Watch& watch() const { return watch_; }

  /// How often something was heard so far. Take it before looking at what the watch announces.
  std::uint64_t heard() {
    const std::lock_guard lock(mutex_);
    return heard_;
  }

  /// Blocks until something was heard more often than `heard` times, or `deadline`.
  void wait(std::uint64_t heard, SteadyTime deadline) {
    std::unique_lock lock(mutex_);
    while (heard_ <= heard) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) return;
      if (listening_) {
        changed_.wait_until(lock, deadline);
        continue;
      }
      listening_ = true;
      lock.unlock();
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
      pollfd one{.fd = watch_.fd(), .events = POLLIN, .revents = 0};
      const bool rung = ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left, INT_MAX))) > 0;
      if (rung) watch_.clear();
      lock.lock();
      listening_ = false;
      if (rung) ++heard_;
      // Also when nothing was heard: one of the others has to listen now.
      changed_.notify_all();
    }
  }

 private:
  Watch watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t heard_ = 0;
  bool listening_ = false;
};

}  // namespace stem
