#include "storage/postgres_tls.hpp"

#include <unistd.h>

#include <cstdlib>

namespace stem {

std::map<std::string, std::string> postgres_tls(const TlsConfig& tls,
                                                const std::map<std::string, std::string>& given,
                                                const std::string& system_authorities) {
  if (tls == TlsConfig{}) return {};
  const auto value = [&](const char* name) {
    const auto found = given.find(name);
    return found == given.end() ? std::string() : found->second;
  };
  auto mode = value("sslmode");
  if (mode == "disable") return {};
  std::map<std::string, std::string> options;
  if (tls.allow_insecure) {
    if (mode.empty() || mode.starts_with("verify-")) options["sslmode"] = "require";
    // libpq verifies as soon as there is an authority, even with `require`, and by default there is one in a
    // home directory.
    options["sslrootcert"] = "/nonexistent/no-authority";
  } else {
    if (mode.empty()) mode = options["sslmode"] = "verify-full";
    const auto& authorities = tls.ca_cert.empty() ? system_authorities : tls.ca_cert;
    if (mode.starts_with("verify-") && value("sslrootcert").empty() && !authorities.empty())
      options["sslrootcert"] = authorities;
  }
  // One without the other would be a pair of two origins.
  if (!tls.client_cert.empty() && value("sslcert").empty() && value("sslkey").empty()) {
    options["sslcert"] = tls.client_cert;
    options["sslkey"] = tls.client_key;
  }
  return options;
}

std::string system_authorities_file() {
  if (const char* named = std::getenv("SSL_CERT_FILE")) return named;
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"})
    if (::access(path, R_OK) == 0) return path;
  return {};
}

}  // namespace stem
