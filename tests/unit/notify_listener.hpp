#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

#include "temp_dir.hpp"

/// A service manager's end of the notify protocol: a real datagram socket, and what arrives at it.
class NotifyListener {
 public:
  /// `address` is a path or `@` and an abstract name; empty = a path of its own.
  explicit NotifyListener(std::string address = {})
      : address_(address.empty() ? dir_ / "notify" : std::move(address)) {
    fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address_.data(), address_.size());
    if (address_.front() == '@') name.sun_path[0] = '\0';
    const auto length = offsetof(sockaddr_un, sun_path) + address_.size();
    if (bind(fd_, reinterpret_cast<sockaddr*>(&name), static_cast<socklen_t>(length)) != 0)
      throw std::runtime_error("bind " + address_);
  }
  ~NotifyListener() { close(fd_); }

  const std::string& address() const { return address_; }

  /// The next message; empty if none comes in time.
  std::string next(int timeout_ms = 10'000) {
    pollfd poll{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&poll, 1, timeout_ms) <= 0) return {};
    char text[8192];
    const auto length = recv(fd_, text, sizeof text, 0);
    return std::string(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  }
  /// The next message that contains `part`; others before it are dropped. Empty if none comes in time.
  std::string next_with(const std::string& part, int timeout_ms = 10'000) {
    for (;;) {
      auto message = next(timeout_ms);
      if (message.empty() || message.find(part) != std::string::npos) return message;
    }
  }
  bool nothing(int timeout_ms = 0) { return next(timeout_ms).empty(); }

 private:
  TempDir dir_;
  std::string address_;
  int fd_ = -1;
};
