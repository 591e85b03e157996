#pragma once

#include <openssl/ssl.h>

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <stem/config.hpp>
#include <string>
#include <vector>

#include "storage/tls_certificate.hpp"
#include "storage/tls_names.hpp"

namespace stem {

/// What connections over TLS have in common: TLS 1.2 or newer, whom we trust, and as whom we come. Files that
/// change are read again by the next connection, so that certificates are renewed without a restart.
/// Thread-safe.
class TlsContext {
 public:
  /// Loads OpenSSL, and reads the files of `config`. Throws Error, which names the variable and the file: 66
  /// missing, 77 may not be read, 78 not what it should be, or a key that belongs to another certificate.
  explicit TlsContext(const TlsConfig& config, TlsNames names = {});

  const TlsConfig& config() const { return config_; }
  const TlsNames& names() const { return names_; }
  /// Of the files as they are now; if they cannot be used, as they were when they last could.
  std::shared_ptr<SSL_CTX> current();
  /// Our own certificate, and those of STEM_TLS_CA_CERT.
  std::optional<TlsCertificate> client();
  std::vector<TlsCertificate> authorities();

 private:
  /// Tells a file from one that was put in its place.
  using Print = std::array<std::string, 3>;
  Print print() const;
  std::shared_ptr<SSL_CTX> load() const;

  const TlsConfig config_;
  const TlsNames names_;
  std::mutex mutex_;
  Print print_;
  std::shared_ptr<SSL_CTX> context_;
};

}  // namespace stem
