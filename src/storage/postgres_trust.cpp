#include "storage/postgres_trust.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "storage/tls_context.hpp"

namespace stem {
namespace {

/// Where libpq looks for what nobody named.
std::string in_home(const char* name) {
  const char* home = std::getenv("HOME");
  const auto path = std::string(home ? home : "") + "/.postgresql/" + name;
  return home && ::access(path.c_str(), F_OK) == 0 ? path : std::string();
}

/// As libpq asks for it: its owner's alone; its group may read it if it is root's.
bool is_private(const std::string& key) {
  struct stat status {};
  if (::stat(key.c_str(), &status) != 0) return true;  // somebody else tells of that
  const mode_t others = status.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO;
  return (status.st_mode & others) == 0;
}

}  // namespace

void PostgresTrust::require_files() const {
  if (!asked) return;
  if (lacks_authority)
    throw Error(Exit::config, "sslmode=" + sslmode +
                                  " takes an authority to check the server's certificate by, and none is "
                                  "named; put the path of its "
                                  "certificate into " +
                                  names.ca);
  if (config.ca_cert.empty() && config.client_cert.empty()) return;
  const TlsContext all(config, names);
  if (!config.client_key.empty() && !is_private(config.client_key))
    throw Error(Exit::config, names.client_key + " (" + printable(config.client_key) +
                                  ") is open to others than its owner, and libpq uses no such key; chmod "
                                  "0600, or give it to root with 0640");
}

PostgresTrust PostgresTrust::from(const std::map<std::string, std::string>& options,
                                  const std::map<std::string, std::string>& given, const TlsConfig& tls,
                                  const std::string& system_authorities) {
  const auto value = [&](const char* name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
  };
  const auto name_of = [&](const char* name, const std::string& path, const std::string& of_variable,
                           const char* variable) {
    if (given.contains(name)) return std::string(name) + " of the address";
    return path.empty() || path == of_variable ? std::string(variable) : std::string(name);
  };
  PostgresTrust trust;
  const auto host = value("host").empty() ? value("hostaddr") : value("host");
  const bool unix_socket = host.empty() || host.starts_with('/') || host.starts_with('@');
  trust.sslmode = value("sslmode");
  trust.asked = !unix_socket && (trust.sslmode == "require" || trust.sslmode.starts_with("verify-"));
  trust.checks_host = trust.sslmode == "verify-full";
  auto& config = trust.config;
  config.ca_cert = value("sslrootcert").empty() ? in_home("root.crt") : value("sslrootcert");
  // With `require` libpq checks the chain only if there is something to check it by.
  config.allow_insecure = !trust.sslmode.starts_with("verify-") &&
                          (config.ca_cert.empty() || ::access(config.ca_cert.c_str(), F_OK) != 0);
  trust.lacks_authority = !config.allow_insecure && config.ca_cert.empty();
  if (config.allow_insecure || config.ca_cert == "system" ||
      (config.ca_cert == system_authorities && !given.contains("sslrootcert")))
    config.ca_cert.clear();
  config.client_cert = value("sslcert").empty() ? in_home("postgresql.crt") : value("sslcert");
  config.client_key = value("sslkey").empty() ? in_home("postgresql.key") : value("sslkey");
  // Keys that only libpq can use: from a device, or with a passphrase. And one half is nothing.
  if (config.client_key.find(':') != std::string::npos || !value("sslpassword").empty() ||
      config.client_cert.empty() || config.client_key.empty())
    config.client_cert = config.client_key = "";
  trust.names.ca = name_of("sslrootcert", config.ca_cert, tls.ca_cert, "STEM_TLS_CA_CERT");
  trust.names.client_cert = name_of("sslcert", config.client_cert, tls.client_cert, "STEM_TLS_CLIENT_CERT");
  trust.names.client_key = name_of("sslkey", config.client_key, tls.client_key, "STEM_TLS_CLIENT_KEY");
  return trust;
}

}  // namespace stem
