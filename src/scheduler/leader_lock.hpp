#pragma once

#include <memory>
#include <optional>
#include <stem/time.hpp>
#include <string>

#include "storage/store.hpp"

namespace stem {

/// Which of several schedulers leads: a value in the store that the leader writes three times in each
/// `period`. Its version is the fencing token: each write has a higher one, and guard() is refused once
/// another leads. Whoever sees it stay the same for one of the leader's periods takes over. What a clock says
/// is of no importance, only that it goes on: a clock that is set, or that is wrong, neither costs nor makes
/// a leader. One thread.
class LeaderLock {
 public:
  /// `title` tells people who holds it: `scheduler on host web, pid 12`.
  LeaderLock(std::shared_ptr<Store> store, const Clock& clock, const std::string& title, Duration period);

  /// Takes the lock if it is free, renews it if it is ours and it is time. Returns whether we lead.
  bool hold();
  bool leads() const { return version_ != 0; }
  /// Counts the times that it was taken. Between two of them another may have led.
  int term() const { return term_; }
  /// Whether we lead, and nobody can have taken over by now.
  bool certain() const;
  /// If we lead: until then nobody else can.
  SteadyTime lapses() const { return renewed_ + period_; }
  /// Proof that we lead, for writes.
  StoreGuard guard() const { return {key, version_}; }
  /// When hold() has something to do again. For one who leads the next renewal, else the takeover.
  Duration next_look() const;
  /// Who leads, as far as is known; empty = nobody, or we.
  const std::string& holder() const { return holder_; }
  /// A guard() was refused: hold() asks the store before it says again that we lead.
  void doubt() { doubted_ = true; }
  /// Gives it up, so that another may lead at once.
  void release();

  static constexpr const char* key = "scheduler-leader";
  /// Who holds a lock, for those who look on. That it holds it still is told by a version that grows within
  /// `period`.
  struct Holder {
    std::string title;
    std::optional<WallTime> since;
    Duration period{};  ///< 0 = it does not say
    std::int64_t version = 0;
  };
  /// Empty if nobody does. Throws Error as the store does.
  static std::optional<Holder> holder_in(Store& store);
  /// The version of the value that hold() has seen: await(key, seen()) tells when it changes.
  std::int64_t seen() const { return seen_; }

 private:
  bool take(std::int64_t expected);

  const std::shared_ptr<Store> store_;
  const Clock& clock_;
  const std::string value_;
  const Duration period_;
  std::int64_t version_ = 0;  // of our value; 0 = we do not lead
  std::int64_t seen_ = 0;     // the version that is known
  int term_ = 0;
  bool doubted_ = false;
  SteadyTime renewed_{};  // ours: before it was last written
  SteadyTime since_{};    // another's: after it was first seen to be of version seen_
  Duration patience_{};   // the other's period
  std::string holder_;
};

}  // namespace stem
