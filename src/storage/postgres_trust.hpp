#pragma once

#include <map>
#include <stem/config.hpp>
#include <string>

#include "storage/tls_names.hpp"

namespace stem {

/// What libpq's parameters say of TLS, in the words of all other connections: to tell what is wrong with it,
/// for libpq tells too little.
struct PostgresTrust {
  bool asked = false;  ///< a server without TLS is refused; false also for Unix sockets, which have none
  bool checks_host = false;      ///< the server's certificate has to be for the host of the address
  bool lacks_authority = false;  ///< libpq is to check certificates, and there is nothing to check them by
  std::string sslmode;
  TlsConfig config;  ///< allow_insecure: no certificate is checked
  TlsNames names;

  bool checks() const { return !config.allow_insecure; }
  /// Reads the files, if it asks for TLS, as libpq is going to. Throws Error as TlsContext does; 78 for a key
  /// that is too open for libpq, and where an authority is missing.
  void require_files() const;

  /// `options` = libpq's, with its defaults; `given` = those that stand in the address. `tls` = STEM_TLS_*,
  /// which postgres_tls() has put into `options`.
  static PostgresTrust from(const std::map<std::string, std::string>& options,
                            const std::map<std::string, std::string>& given, const TlsConfig& tls,
                            const std::string& system_authorities);
};

}  // namespace stem
