#include <stem/config.hpp>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/setting_rows.hpp"
#include "core/telemetry_config.hpp"

namespace stem {

Config Config::from(const Environment& environment) {
  Config config;
  for (const auto& [setting, read] : setting_rows()) {
    const auto found = environment.find(std::string(setting.name));
    if (!read || found == environment.end() || found->second.find_first_not_of(" \t") == std::string::npos)
      continue;
    try {
      read(config, found->second);
    } catch (const Error& accepted) {
      // Of a secret not even a part is quoted: where it is wrong, nobody knows which part is the password.
      const auto shown = !setting.credential().empty() ? "" : "='" + printable(found->second) + "'";
      throw Error(Exit::config, std::string(setting.name) + shown + ": must be " + accepted.what());
    }
  }
  config.telemetry = telemetry_config(environment);
  config.retry.validate();
  config.signing.validate();
  config.tls.validate();
  if (config.hard_time_limit > Duration::zero() && config.soft_time_limit > config.hard_time_limit)
    throw Error(Exit::config, "STEM_TASK_SOFT_TIME_LIMIT (" + format_duration(config.soft_time_limit) +
                                  ") must not be above STEM_TASK_TIME_LIMIT (" +
                                  format_duration(config.hard_time_limit) + ")");
  return config;
}

void SigningConfig::validate() const {
  const auto refuse = [](const std::string& why) { throw Error(Exit::config, why); };
  const bool hmac = algorithm != "ed25519";
  const std::string list = hmac ? "STEM_SIGNING_KEYS" : "STEM_SIGNING_PUBLIC_KEYS";
  if (!on()) {
    // Lost keys must not turn signing off without a word.
    const char* set = !active_key.empty()     ? "STEM_SIGNING_ACTIVE_KEY"
                      : !private_keys.empty() ? "STEM_SIGNING_PRIVATE_KEYS"
                      : !public_keys.empty()  ? "STEM_SIGNING_PUBLIC_KEYS"
                      : !keys.empty()         ? "STEM_SIGNING_KEYS"
                      : !hmac                 ? "STEM_SIGNING_ALGORITHM"
                                              : nullptr;
    if (set)
      refuse(std::string(set) + " is set, but " + list + ", which the algorithm " + algorithm +
             " takes, is not; set it, or unset all of STEM_SIGNING_*");
    return;
  }
  if (hmac && active_key.empty())
    refuse(list + " is set, but STEM_SIGNING_ACTIVE_KEY is not; name the key that signs");
  const auto& signing = hmac ? keys : private_keys;
  if (!active_key.empty() && !signing.empty() && !signing.contains(active_key))
    refuse("STEM_SIGNING_ACTIVE_KEY='" + printable(active_key) + "': no key of that id is in " +
           (hmac ? list : "STEM_SIGNING_PRIVATE_KEYS"));
}

void TlsConfig::validate() const {
  if (client_cert.empty() == client_key.empty()) return;
  const bool lone_key = client_cert.empty();
  throw Error(Exit::config, std::string(lone_key ? "STEM_TLS_CLIENT_KEY" : "STEM_TLS_CLIENT_CERT") +
                                " is set, but " +
                                (lone_key ? "STEM_TLS_CLIENT_CERT" : "STEM_TLS_CLIENT_KEY") +
                                " is not; a client's certificate takes both: set it, too, or unset both");
}

}  // namespace stem
