#include "diagnosis/security.hpp"

#include <stem/signing.hpp>

#include "core/redaction.hpp"
#include "storage/tls_look.hpp"
#include "storage/tls_warnings.hpp"

namespace stem {
namespace {

using std::chrono::days;
/// Long enough for somebody to come back from a holiday; shorter than what certificates that renew themselves
/// have left.
constexpr days soon{14};
/// What the hash gives; a shorter key is the weakest part.
constexpr std::size_t whole_key = 32;

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string day_of(WallTime time) {
  return format_time(time).substr(0, 10);
}

/// Adds to `all` that `certificate` ends soon, if it does.
void watch_end(Finding& all, const TlsCertificate& certificate, const std::string& what,
               const std::string& fix, WallTime now) {
  const auto left = std::chrono::floor<days>(certificate.not_after - now);
  if (left < days{0})
    all.add(Finding::error(what + " expired on " + day_of(certificate.not_after), fix));
  else if (left < soon)
    all.add(Finding::warning(what + " expires on " + day_of(certificate.not_after) + ", in " +
                                 std::to_string(left.count()) + " days",
                             fix));
}

}  // namespace

Finding finding_of(const Error& error) {
  const std::string text = error.what();
  const auto end = text.find("; ");
  if (end == text.npos)
    return Finding::error(text, error.code() == Exit::unavailable
                                    ? "look whether the server runs, and whether this machine reaches it"
                                    : "`man stem.env` tells of the variables");
  return Finding::error(text.substr(0, end), text.substr(end + 2));
}

Finding judge_tls(const std::string& url, const TlsConfig& tls, WallTime now) {
  const auto shown = redacted_url(url);
  TlsLook look;
  try {
    if (!has_tls_to_look_at(url, tls)) return Finding::skip(shown + " has no TLS");
    look = look_at_tls(url, tls);
  } catch (const Error& error) {
    return finding_of(error);
  }
  auto all =
      Finding::ok(shown + ": " + look.version + ", " + look.cipher + "; the server's certificate is for " +
                  listed(look.server.names) + ", until " + day_of(look.server.not_after));
  if (look.client) all.text += "; ours until " + day_of(look.client->not_after);
  watch_end(all, look.server, "the certificate of " + shown, "renew it on the server", now);
  if (look.client)
    watch_end(all, *look.client,
              "the certificate in " + look.names.client_cert + " (" + look.config.client_cert + ")",
              "renew it, with its key", now);
  for (const auto& authority : look.authorities)
    watch_end(
        all, authority,
        "the authority '" + authority.subject + "' in " + look.names.ca + " (" + look.config.ca_cert + ")",
        "add its successor's certificate to the file", now);
  if (!look.unchecked.empty())
    all.add(
        Finding::warning(shown + " takes any server for the right one, by its " + look.unchecked,
                         "write sslmode=verify-full, and name the server's authority in " + look.names.ca));
  if (tls.allow_insecure) {
    auto strict = tls;
    strict.allow_insecure = false;
    try {
      look_at_tls(url, strict);
      all.add(Finding::warning("STEM_TLS_ALLOW_INSECURE is on, though the server would pass the check",
                               "unset it"));
    } catch (const Error& error) {
      const auto why = finding_of(error);
      all.add(Finding::warning("STEM_TLS_ALLOW_INSECURE is on, and without it: " + why.text,
                               why.fix + "; then unset it"));
    }
  }
  auto others = tls;
  others.allow_insecure = false;
  for (const auto& warning : tls_warnings(others)) {
    const auto end = warning.find("; ");
    all.add(Finding::warning(warning.substr(0, end), warning.substr(end + 2)));
  }
  return all;
}

Finding judge_signing(const SigningConfig& signing) {
  try {
    signing.validate();
    if (!signing.on()) return Finding::skip("jobs are not signed");
    const auto signer = PayloadSigner::maybe(signing);
    const bool hmac = signing.algorithm != "ed25519";
    const auto& keys = hmac ? signing.keys : signing.public_keys;
    std::vector<std::string> others;
    for (const auto& [id, key] : keys)
      if (id != signing.active_key || !signer->can_sign()) others.push_back(id);
    auto all = Finding::ok(
        signing.algorithm +
        (signer->can_sign() ? ", signs with key " + signing.active_key : ", verifies only") +
        (others.empty() ? "" : (signer->can_sign() ? "; also takes " : "; takes ") + listed(others)));
    for (const auto& [id, key] : keys)
      if (hmac && key.size() < whole_key)
        all.add(Finding::warning(
            "key " + id + " of STEM_SIGNING_KEYS has " + std::to_string(key.size()) +
                " bytes, and should have " + std::to_string(whole_key),
            "make one with `openssl rand -base64 32`; docs/signing.md tells how keys are changed"));
    return all;
  } catch (const Error& error) {
    return finding_of(error);
  }
}

}  // namespace stem
