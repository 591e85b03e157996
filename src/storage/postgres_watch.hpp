#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "core/descriptor.hpp"
#include "storage/postgres_connection.hpp"

namespace stem {

/// Hears what is notified on one channel, on a connection of its own. While the server cannot be reached it claims to
/// have heard something once a second, and tries to reach it each time.
class PostgresWatch {
 public:
  /// Listening when it returns. Throws Error as PostgresConnection does; 75 when the process is out of descriptors.
  PostgresWatch(const PostgresAddress& address, std::string channel);

  /// Polls readable once something was notified. Valid for this object's life.
  int fd() const { return poll_.get(); }
  /// Makes fd() unreadable until the next notification, and hands what was said with each to `heard`. False when some
  /// may have been missed. Thread-safe.
  bool clear(const std::function<void(std::string_view)>& heard = {});
  /// Makes fd() readable. Thread-safe, never fails.
  void poke() const noexcept;

 private:
  void listen();
  void tick(bool on);

  PostgresAddress address_;
  const std::string channel_;
  std::mutex mutex_;
  Descriptor poll_;  // epoll over those below, so that fd() stays the same whichever is in use
  Descriptor timer_, poked_;
  std::unique_ptr<PostgresConnection> connection_;
};

/// Lets any number of threads wait for one channel, with one watch: one of them listens, the others wait for it.
class PostgresListener {
 public:
  PostgresListener(const PostgresAddress& address, std::string channel) : watch_(address, std::move(channel)) {}

  /// How many notifications were heard so far. Take it before looking at what the channel announces.
  std::uint64_t heard();
  /// Blocks until more than `heard` were heard, or `deadline`.
  void wait(std::uint64_t heard, SteadyTime deadline);
  /// As if something had been heard.
  void poke() const noexcept { watch_.poke(); }

 private:
  PostgresWatch watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t heard_ = 0;
  bool listening_ = false;
};

}  // namespace stem
