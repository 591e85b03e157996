#pragma once

#include <openssl/x509.h>

#include <stem/time.hpp>
#include <string>
#include <vector>

namespace stem {

/// What people want to know of a certificate. Text of it is one line, printable.
struct TlsCertificate {
  std::string subject;             ///< its common name; may be empty
  std::vector<std::string> names;  ///< the hosts and addresses that it is for
  WallTime not_before{}, not_after{};

  static TlsCertificate from(const X509& certificate);
};

}  // namespace stem
