#pragma once

#include <optional>
#include <stem/config.hpp>
#include <string>
#include <vector>

#include "storage/tls_certificate.hpp"
#include "storage/tls_names.hpp"

namespace stem {

/// A server as a connection over TLS shows it, and what we come with.
struct TlsLook {
  std::string version, cipher;
  TlsCertificate server;
  std::optional<TlsCertificate> client;
  std::vector<TlsCertificate> authorities;  ///< of the file of authorities, if one is named
  TlsConfig config;                         ///< the files in use
  TlsNames names;                           ///< who named them
  std::string unchecked;  ///< the setting of the address by which any server is taken for the right one;
                          ///< empty = there is none
};

/// Whether a broker or result backend of that address speaks TLS: rediss://, or PostgreSQL with an sslmode
/// that asks for it. Throws Error if the address cannot be read.
bool has_tls_to_look_at(const std::string& url, const TlsConfig& tls);
/// Connects and logs in, as the broker at `url` does. Throws Error as it does.
TlsLook look_at_tls(const std::string& url, const TlsConfig& tls);

}  // namespace stem
