#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <stem/error.hpp>
#include <stem/time.hpp>

namespace stem {

/// How the conversation with the broker fares. A failure that may pass (69 unreachable, 75 busy, 73 disk
/// full) is waited out with pauses that grow from 100 ms to 5 s, and logged once; any other is the end.
/// ask(), hurry() and the pause are the broker thread's own; the rest may be read by any thread.
class BrokerLink {
 public:
  /// `changed` is called, on the broker thread, when the broker is reached, is lost, or has failed for good.
  BrokerLink(const Clock& clock, std::function<void()> changed)
      : clock_(clock), changed_(std::move(changed)) {}

  /// Runs one conversation. False if it failed, or a failure is still being waited out: then nothing was
  /// changed.
  bool ask(const std::function<void()>& call);
  /// From now on each ask() tries, without a pause.
  void hurry() { hurried_ = true; }
  /// When ask() will try again; in the past while all is well.
  SteadyTime next_try() const { return hurried_ ? SteadyTime{} : next_try_; }

  bool connected() const { return connected_; }
  /// Whether it has failed in a way that does not pass; trouble() says how.
  bool broken() const { return broken_; }
  /// When the broker last answered; empty before the first time.
  std::optional<SteadyTime> answered() const;
  /// What is being waited out, or was the end; empty = none.
  std::optional<Error> trouble() const;

 private:
  bool fail(const Error& error);

  const Clock& clock_;
  const std::function<void()> changed_;
  SteadyTime next_try_{};
  bool hurried_ = false;
  int failures_ = 0;
  std::atomic<bool> connected_{false}, broken_{false};
  std::atomic<SteadyTime::rep> answered_{0};
  mutable std::mutex mutex_;
  std::optional<Error> trouble_;
};

}  // namespace stem
