#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stem {

/// Where something of ours listens: an IP address and a port, or a Unix socket.
struct ListenAddress {
  std::string host;  ///< as inet_pton(3) reads it; empty for a Unix socket
  bool is_v6 = false;
  std::uint16_t port = 0;  ///< 0 = any that is free
  std::string path;        ///< of the Unix socket, perhaps a template

  /// `9464` and `:9464` (on 127.0.0.1), `127.0.0.1:9464`, `localhost:9464`, `[::1]:9464`, `unix:/PATH`.
  /// Throws Error (exit 64) for anything else.
  static ListenAddress from(std::string_view text);
  /// What from() takes, for messages.
  static constexpr const char* accepted =
      "a port (9464), an address and a port (127.0.0.1:9464, [::1]:9464) or unix:/PATH";

  /// As from() reads it.
  std::string text() const;
  bool is_unix() const { return !path.empty(); }
  /// Whether only this machine can come to it.
  bool is_local() const;

  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};

}  // namespace stem
