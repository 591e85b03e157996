#pragma once

#include <atomic>
#include <stem/time.hpp>

/// A clock whose wall time moves only by hand. Thread-safe.
class HandClock : public stem::Clock {
 public:
  stem::WallTime wall() const override { return stem::WallTime(stem::Duration(now_)); }
  void move(stem::Duration by) { now_ += by.count(); }

 private:
  std::atomic<std::int64_t> now_{1'735'786'245'000'000};  // 2025-01-02T02:50:45Z
};
