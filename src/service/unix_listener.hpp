#pragma once

#include <sys/types.h>

#include <stem/error.hpp>
#include <string>

#include "core/descriptor.hpp"

namespace stem {

/// A Unix stream socket that clients connect to, mode 0660 from birth, not blocking. Its file goes with it,
/// unless another has taken its place.
class UnixListener {
 public:
  /// Listens at `path`, which is a `what` (`control socket`) in messages. A socket file of ours that nobody
  /// answers at is replaced. Throws Error: `taken` another process answers there, 73 cannot be created, 77
  /// something that is not a socket of ours is in the way. Touches the process's umask: not beside other
  /// threads.
  UnixListener(std::string path, std::string what, Exit taken, std::string taken_advice);
  ~UnixListener();
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  int fd() const { return socket_.get(); }
  const std::string& path() const { return path_; }

 private:
  Error refuse(Exit code, const std::string& why) const;
  void clear_the_way() const;

  const std::string path_, what_;
  const Exit taken_;
  const std::string taken_advice_;
  Descriptor socket_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace stem
