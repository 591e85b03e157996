#pragma once

#include <memory>
#include <stem/time.hpp>
#include <string>

#include "storage/url.hpp"

namespace stem {

class TlsContext;

/// Which Redis, and as whom:
/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE][?timeout=5s&namespace=stem]`, `rediss://…` for TLS, or
/// `redis+socket://[[USER]:PASSWORD@]/PATH[?db=DATABASE&…]`.
struct RedisAddress {
  std::string host = "localhost";
  std::string port = "6379";
  std::string path;  ///< of a Unix socket; empty = TCP
  std::string user;  ///< empty = the default user
  std::string password;
  int database = 0;
  std::string name_space = "stem";             ///< what every key begins with
  bool secure = false;                         ///< rediss://: `tls` has to be set by whoever connects
  std::shared_ptr<TlsContext> tls;             ///< null = none
  Duration timeout = std::chrono::seconds{5};  ///< for connecting, TLS included, and for each reply

  /// Whether both hold the same keys, as far as the addresses tell: a host may have several names.
  bool same_place(const RedisAddress& other) const {
    return host == other.host && port == other.port && path == other.path && database == other.database &&
           name_space == other.name_space;
  }
  /// For messages: without user and password.
  std::string shown() const;

  /// Throws Error (exit 78), whose message repeats nothing that may be a password.
  static RedisAddress from(const Url& url);
};

}  // namespace stem
