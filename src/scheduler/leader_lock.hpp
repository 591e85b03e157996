#pragma once

#include <memory>
#include <stem/time.hpp>
#include <string>

#include "storage/store.hpp"

namespace stem {

/// Which of several schedulers leads: a value in the store that lives for `period` and is renewed three times in it. Its version
/// is the fencing token: each term has higher ones, and guard() is refused once another leads. One thread.
class LeaderLock {
 public:
  /// `title` tells people who holds it: `scheduler on host web, pid 12`.
  LeaderLock(std::shared_ptr<Store> store, const Clock& clock, std::string title, Duration period);

  /// Takes the lock if it is free, renews it if it is ours and it is time. Returns whether we lead.
  bool hold();
  bool leads() const { return version_ != 0; }
  /// Counts the times that it was taken. Between two of them another may have led.
  int term() const { return term_; }
  /// Whether we lead, and the lock cannot have ended by now, as our clock has it.
  bool certain() const;
  /// Proof that we lead, for writes.
  StoreGuard guard() const { return {key, version_}; }
  /// When hold() has something to do again. For one who leads the next renewal, else the end of the other's lock.
  Duration next_look() const;
  /// Who leads, as far as is known; empty = nobody, or we.
  const std::string& holder() const { return holder_; }
  /// A guard() was refused: hold() asks the store before it says again that we lead.
  void doubt() { renewed_ = clock_.steady() - period_; }
  /// Gives it up, so that another may lead at once.
  void release();

  static constexpr const char* key = "scheduler-leader";
  /// The version of the value that hold() has seen: await(key, seen()) tells when it changes.
  std::int64_t seen() const { return seen_; }

 private:
  bool take(std::int64_t expected);

  const std::shared_ptr<Store> store_;
  const Clock& clock_;
  const std::string value_;
  const Duration period_;
  std::int64_t version_ = 0;  // of our value; 0 = we do not lead
  std::int64_t seen_ = 0;
  int term_ = 0;
  SteadyTime renewed_{};
  WallTime ends_{};  // another's
  std::string holder_;
};

}  // namespace stem
