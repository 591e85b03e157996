#include "storage/tls_warnings.hpp"

#include <sys/stat.h>

#include "core/name.hpp"

namespace stem {

std::vector<std::string> tls_warnings(const TlsConfig& config) {
  std::vector<std::string> warnings;
  if (config.allow_insecure)
    warnings.emplace_back(
        "STEM_TLS_ALLOW_INSECURE is on: no server's certificate is checked, and whoever is on the way can "
        "read and change "
        "everything; unset it as soon as you have seen what you wanted to see");
  struct stat status {};
  if (!config.client_key.empty() && ::stat(config.client_key.c_str(), &status) == 0 &&
      status.st_mode & S_IRWXO)
    warnings.push_back("STEM_TLS_CLIENT_KEY (" + printable(config.client_key) +
                       ") is open to every user of this machine; chmod 0600, or 0640 for a group");
  return warnings;
}

}  // namespace stem
