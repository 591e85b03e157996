#pragma once

#include <map>
#include <stem/config.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "storage/postgres_trust.hpp"
#include "storage/url.hpp"

namespace stem {

/// Which PostgreSQL, and as whom: an address as libpq reads it, with any of libpq's parameters, and of ours
/// `?schema=stem&timeout=5s`. `postgres+ssl://` and `postgresql+ssl://` ask for sslmode=require at least.
struct PostgresAddress {
  using Options = std::map<std::string, std::string>;  ///< libpq's, by their names

  /// One for each server that may be the one: they are tried in this order. Never empty.
  std::vector<Options> servers;
  std::string schema = "stem";  ///< holds all of Stem's tables; two of them are two brokers in one database
  Duration timeout = std::chrono::seconds{5};          ///< for each answer
  Duration connect_timeout = std::chrono::seconds{5};  ///< for connecting to one server
  PostgresTrust trust;                                 ///< what the options come to, as far as TLS goes

  /// Whether both hold the same tables, as far as the addresses tell: a host may have several names.
  bool same_place(const PostgresAddress& other) const;
  /// For messages: host, port and database of one of the servers, without user and password.
  std::string shown(std::size_t server = 0) const;

  /// STEM_TLS_* is for what the address does not say: postgres_tls(). Loads libpq. Throws Error (exit 78),
  /// whose message repeats nothing that may be a password.
  static PostgresAddress from(const Url& url, const TlsConfig& tls = {});
};

}  // namespace stem
