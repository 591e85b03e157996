#pragma once

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace stem {

/// Memory that a worker and the children of its pool share, a place for each child. What a child may not
/// change is read-only there.
class ChildBoard {
 public:
  /// For children 1 to `children`, which are forked from this process as it is now. Throws Error 70.
  explicit ChildBoard(int children);
  ~ChildBoard();
  ChildBoard(const ChildBoard&) = delete;
  ChildBoard& operator=(const ChildBoard&) = delete;

  /// Written by the worker: the handler that this child runs should return soon.
  std::atomic<bool>& cancelled(int child) { return orders_[child - 1].cancelled; }

  /// Where a child was when a signal ended it.
  struct Crash {
    volatile std::sig_atomic_t signal;  ///< 0 = none
    bool has_address;
    void* address;
    int depth;
    void* frames[40];
  };
  Crash& crash(int child) { return crashes_[child - 1]; }

  /// What was noted, a line for each frame, innermost first, 4 KiB at the most. Frames of what was loaded
  /// only after the children were forked remain numbers: here something else may be in that place.
  std::string describe(const Crash& crash) const;

  /// In the child: orders can only be read from now on.
  void seal();

 private:
  struct alignas(64) Order {
    std::atomic<bool> cancelled;
  };
  static_assert(std::atomic<bool>::is_always_lock_free);

  std::size_t order_bytes_, crash_bytes_;
  Order* orders_;
  Crash* crashes_;
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> modules_;  ///< from, up to: what children inherit
};

/// Once in a process, before there are threads: loads what a backtrace takes, which must not be loaded by a
/// handler of signals.
void prepare_crash_notes();

/// From now on, a signal that tells of a fault notes where this process was, then ends it as it would have:
/// with a core dump where those are made. `crash` outlives the process.
void note_crashes(ChildBoard::Crash& crash);

/// `SIGSEGV`.
std::string signal_name(int number);

}  // namespace stem
