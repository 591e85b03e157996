#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "storage/redis_connection.hpp"

namespace stem {

/// Hears what is published on one channel, on a connection of its own. While the server cannot be reached it claims
/// to have heard something once a second, and tries to reach it each time.
class RedisWatch {
 public:
  /// Subscribed when it returns, if the server can be reached. Throws Error as RedisConnection does, but 69; 75 when the
  /// process is out of descriptors.
  RedisWatch(const RedisAddress& address, std::string channel);

  /// Polls readable once something was published. Valid for this object's life.
  int fd() const { return poll_.get(); }
  /// Makes fd() unreadable until the next message, and hands over what was published since the last time. False if
  /// something may have been missed. Thread-safe.
  bool clear(const std::function<void(std::string_view)>& hear = {});
  /// Makes fd() readable. Thread-safe, never fails.
  void poke() const noexcept;

 private:
  void subscribe();
  void tick(bool on);

  RedisAddress address_;
  const std::string channel_;
  std::mutex mutex_;
  Descriptor poll_;  // epoll over those below, so that fd() stays the same whichever is in use
  Descriptor timer_, poked_;
  std::unique_ptr<RedisConnection> connection_;
};

/// Lets any number of threads wait for one channel, with one watch: one of them listens, the others wait for it.
class RedisListener {
 public:
  RedisListener(const RedisAddress& address, std::string channel) : watch_(address, std::move(channel)) {}

  /// How many messages were heard so far. Take it before looking at what the channel announces.
  std::uint64_t heard();
  /// Blocks until more than `heard` were heard, or `deadline`.
  void wait(std::uint64_t heard, SteadyTime deadline);
  /// As if something had been heard.
  void poke() const noexcept { watch_.poke(); }

 private:
  RedisWatch watch_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t heard_ = 0;
  bool listening_ = false;
};

}  // namespace stem
