#pragma once

#include <map>
#include <stem/config.hpp>
#include <string>

namespace stem {

/// libpq's parameters for STEM_TLS_*: to be set over those that an address has, `given`. What the address
/// says of sslmode, sslrootcert, sslcert and sslkey stays, but for checks that allow_insecure takes away. As
/// soon as one of STEM_TLS_* is set, a connection without sslmode is verify-full: nobody names an authority
/// in vain. Without a CA that is trusted, `system_authorities` are, a file. Reads nothing.
std::map<std::string, std::string> postgres_tls(const TlsConfig& tls,
                                                const std::map<std::string, std::string>& given,
                                                const std::string& system_authorities);

/// The file with the system's authorities: SSL_CERT_FILE, or where distributions have it; libpq before
/// version 16 has to be told. Empty if there is none.
std::string system_authorities_file();

}  // namespace stem
