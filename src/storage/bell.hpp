#pragma once

#include <mutex>
#include <stem/time.hpp>
#include <string>

#include "core/descriptor.hpp"

namespace stem {

/// An empty file beside a database whose opening is the signal "look again" to every process that watches it.
/// Ringing writes nothing, so it works on a full disk and costs two system calls. It must follow the commit
/// it tells of: a watch on the database's own files would fire before a reader can see the change.
class Bell {
 public:
  /// `path` is where the bell hangs; it gets the owner and mode of `beside`, the database. Does not touch the
  /// disk.
  Bell(std::string path, std::string beside);

  /// Wakes all watchers. A bell that is missing is hung up anew. Never fails: who misses a ring finds the job
  /// at the next of its slow looks.
  void ring() const noexcept;
  /// Creates the file if it is missing. Returns whether it is there now.
  bool hang() const noexcept;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::string beside_;
};

/// Hears a bell. Where the kernel grants no watch (fs.inotify.max_user_instances, a full disk without the
/// file), it claims to have heard something once a second instead, and tries again for the watch each time.
class BellWatch {
 public:
  /// Throws Error (exit 75) when the process is out of file descriptors.
  explicit BellWatch(Bell bell);

  /// Polls readable once the bell has been rung. Valid for this object's life.
  int fd() const { return poll_.get(); }
  /// Makes fd() unreadable until the next ring. Thread-safe.
  void clear();

 private:
  void arm();
  void tick(bool on);

  Bell bell_;
  std::mutex mutex_;
  Descriptor poll_;  // epoll over the two below, so that fd() stays the same whichever is in use
  Descriptor inotify_;
  Descriptor timer_;
  int watch_ = -1;
};

}  // namespace stem
