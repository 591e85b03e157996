#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "core/descriptor.hpp"

namespace stem {

/// The address of a Unix socket at `path`, for bind(2) and connect(2) while this object lives. A path that is
/// too long for a socket address is reached through /proc/self/fd and its directory. Throws Error: 69 no such
/// directory, 78 the file's own name is too long.
class ControlAddress {
 public:
  explicit ControlAddress(const std::string& path);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
  socklen_t size() const { return sizeof address_; }

 private:
  sockaddr_un address_{};
  Descriptor directory_;
};

}  // namespace stem
