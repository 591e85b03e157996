#pragma once

#include <optional>
#include <stem/config.hpp>
#include <stem/error.hpp>
#include <string>

#include "storage/tls_certificate.hpp"
#include "storage/tls_names.hpp"

namespace stem {

/// Where the check of a server's certificate stopped.
struct TlsVerdict {
  int code = 0;   ///< OpenSSL's X509_V_…; 0 = nothing is wrong
  int depth = 0;  ///< 0 = the server's own certificate, above that an authority's
  TlsCertificate certificate;
};

/// What went wrong between us and `host`: one clause, which names the variable and what to do. 69 what the
/// server's side has to renew, or what passes; 77 the server does not take us; 78 what was set here does not
/// fit that server. `reason` is OpenSSL's, 0 if it has none.
Error tls_fault(const TlsConfig& config, const TlsNames& names, const std::string& host,
                const std::optional<TlsVerdict>& verdict, unsigned long reason);
/// For a server that asks for a certificate, and was shown none. Exit 77.
Error tls_client_wanted(const TlsNames& names);
/// For a Redis that answered in clear text. Exit 78.
Error tls_not_spoken();

}  // namespace stem
