#pragma once

#include <optional>
#include <stem/config.hpp>
#include <string>
#include <vector>

#include "storage/tls_certificate.hpp"

namespace stem {

/// A server as a connection over TLS shows it, and what we come with.
struct TlsLook {
  std::string version, cipher;
  TlsCertificate server;
  std::optional<TlsCertificate> client;
  std::vector<TlsCertificate> authorities;  ///< of STEM_TLS_CA_CERT
};

/// Whether a broker or result backend of that address speaks TLS that this can look at: rediss://.
bool has_tls_to_look_at(const std::string& url);
/// Connects and logs in, as the broker at `url` does. Throws Error as it does.
TlsLook look_at_tls(const std::string& url, const TlsConfig& tls);

}  // namespace stem
