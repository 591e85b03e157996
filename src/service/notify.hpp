#pragma once

#include <optional>
#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// Tells the service manager how we fare: the datagrams of sd_notify(3) to $NOTIFY_SOCKET. Says nothing, at
/// no cost, where no one listens. A message that cannot be delivered is dropped after a second. Main thread
/// only.
class Notify {
 public:
  /// Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of this process's environment: children inherit
  /// none of them. Call it before threads are started.
  static Notify from_environment();
  /// Speaks to `socket` (a path, or `@` and an abstract name); empty = to nobody.
  explicit Notify(const std::string& socket, std::optional<Duration> watchdog_limit = {});
  Notify(Notify&& other) noexcept;
  Notify& operator=(Notify&&) = delete;
  ~Notify();

  bool listening() const { return fd_ >= 0; }
  /// WATCHDOG_USEC, if it is meant for this process: how long it may be silent.
  std::optional<Duration> watchdog_limit() const { return watchdog_limit_; }

  void ready(std::string_view status = {});
  /// STATUS=, only if it differs from the last, and at most once a second. Returns how long to wait before it
  /// can be told; zero if nothing is left to tell.
  Duration status(std::string_view text);
  void watchdog();
  /// RELOADING=1 with MONOTONIC_USEC=, without which systemd 253 and later waits for ever. Follow with
  /// ready().
  void reloading();
  /// STOPPING=1. It starts the manager's stop timeout, even unasked; so the first extension goes with it.
  void stopping(Duration extend, std::string_view status = {});
  /// EXTEND_TIMEOUT_USEC=. It postpones the watchdog as well, so only while starting, reloading or stopping.
  void extend(Duration length, std::string_view status = {});
  /// EXIT_STATUS= and, if not 0, ERRNO=: the last words.
  void leaving(int exit_status, int error_number, std::string_view status = {});
  /// With the errno that says best why this is the exit status.
  void leaving(int exit_status, std::string_view status);
  /// Any message, as it is: a shim's program speaks through us.
  void send(std::string_view message);

 private:
  int fd_ = -1;
  std::string address_;
  std::optional<Duration> watchdog_limit_;
  std::string last_status_;
  SteadyTime last_status_at_{};
};

}  // namespace stem
