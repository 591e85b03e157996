#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <stem/time.hpp>
#include <string_view>

#include "core/descriptor.hpp"

namespace stem {

/// A connection on which a server tells what is said on a channel.
class Subscription {
 public:
  virtual ~Subscription() = default;
  /// Polls readable when something has come.
  virtual int fd() const = 0;
  /// Hands over each text that has come, without waiting. False: the connection is lost.
  virtual bool drain(const std::function<void(std::string_view)>& hear) = 0;
};

/// Hears what is said on one channel of a server, on a connection of its own. While the server cannot be
/// reached, from the first try on, it claims to have heard something once a second, and tries to reach it
/// each time.
class ServerWatch {
 public:
  /// Makes a new one, which misses nothing that is said after it is there. No answer may take longer than
  /// `patience`. Throws Error: 69 if the server cannot be reached now.
  using Subscribe = std::function<std::unique_ptr<Subscription>(Duration patience)>;

  /// Subscribed when it returns, if the server can be reached. Throws Error as `subscribe` does, but 69; 75
  /// when the process is out of descriptors.
  explicit ServerWatch(Subscribe subscribe);

  /// Polls readable once something was said. Valid for this object's life.
  int fd() const { return poll_.get(); }
  /// Makes fd() unreadable until the next time, and hands over what was said since the last. False if
  /// something may have been missed. Thread-safe.
  bool clear(const std::function<void(std::string_view)>& hear = {});
  /// Makes fd() readable. Thread-safe, never fails.
  void poke() const noexcept;

 private:
  void connect(Duration patience);
  void tick(bool on);

  const Subscribe subscribe_;
  std::mutex mutex_;
  Descriptor poll_;  // epoll over those below, so that fd() stays the same whichever is in use
  Descriptor timer_, poked_;
  std::unique_ptr<Subscription> subscription_;
};

}  // namespace stem
