#pragma once

#include <string>

namespace stem {

/// What messages call the settings of TLS: an address may have its own, in the place of STEM_TLS_*.
struct TlsNames {
  std::string ca = "STEM_TLS_CA_CERT";
  std::string client_cert = "STEM_TLS_CLIENT_CERT";
  std::string client_key = "STEM_TLS_CLIENT_KEY";
};

}  // namespace stem
