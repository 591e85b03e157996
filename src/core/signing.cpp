#include <map>
#include <stem/error.hpp>
#include <stem/signing.hpp>

#include "core/base64.hpp"
#include "core/name.hpp"
#include "core/signing_key.hpp"
#include "core/signing_text.hpp"

namespace stem {

struct PayloadSigner::Keys {
  const char* list;  ///< the variable that known keys come from
  std::map<std::string, std::unique_ptr<SigningKey>> known;
  std::string active;
  std::unique_ptr<SigningKey> signing;  ///< null if `why_not` holds
  std::string why_not;
};

namespace {

/// What keeps this configuration from signing with Ed25519; empty if nothing does.
std::string why_not_signing(const SigningConfig& config) {
  if (config.private_keys.empty()) return "STEM_SIGNING_PRIVATE_KEYS is not set";
  if (config.active_key.empty()) return "STEM_SIGNING_ACTIVE_KEY is not set";
  if (!config.public_keys.contains(config.active_key))
    return "STEM_SIGNING_PUBLIC_KEYS lacks the active key " + config.active_key;
  return {};
}

}  // namespace

std::optional<PayloadSigner> PayloadSigner::maybe(const Config& config) {
  return maybe(config.signing);
}

std::optional<PayloadSigner> PayloadSigner::maybe(const SigningConfig& config) {
  config.validate();
  if (!config.on()) return std::nullopt;
  auto keys = std::make_shared<Keys>();
  keys->active = config.active_key;
  if (config.algorithm == "hmac-sha256") {
    keys->list = "STEM_SIGNING_KEYS";
    for (const auto& [id, key] : config.keys) keys->known.emplace(id, hmac_sha256_key(key));
    keys->signing = hmac_sha256_key(config.keys.at(config.active_key));
    return PayloadSigner(std::move(keys));
  }
  keys->list = "STEM_SIGNING_PUBLIC_KEYS";
  for (const auto& [id, key] : config.public_keys) keys->known.emplace(id, ed25519_public_key(key));
  for (const auto& [id, key] : config.private_keys)
    if (const auto half = config.public_keys.find(id);
        half != config.public_keys.end() && half->second != ed25519_public_of(key))
      throw Error(Exit::config, "signing key " + id +
                                    ": STEM_SIGNING_PRIVATE_KEYS and STEM_SIGNING_PUBLIC_KEYS hold halves of "
                                    "different keys; what is signed so nobody could verify");
  keys->why_not = why_not_signing(config);
  if (keys->why_not.empty()) keys->signing = ed25519_private_key(config.private_keys.at(config.active_key));
  return PayloadSigner(std::move(keys));
}

bool PayloadSigner::can_sign() const {
  return keys_->signing != nullptr;
}

void PayloadSigner::sign(Envelope& envelope) const {
  if (!keys_->signing)
    throw Error(Exit::config, "job " + printable(envelope.name) +
                                  " is not enqueued, for it cannot be signed: " + keys_->why_not +
                                  "; set it, or unset STEM_SIGNING_* everywhere to go without signatures");
  const auto signature = to_base64(keys_->signing->sign(signing_text(envelope)));
  envelope.headers[signature_header] = signature;
  envelope.headers[signature_key_header] = keys_->active;
}

std::optional<SignatureFault> PayloadSigner::verify(const Envelope& envelope) const {
  const auto header = [&](const char* name) {
    const auto found = envelope.headers.find(name);
    return found == envelope.headers.end() ? std::string() : found->second;
  };
  const auto id = header(signature_key_header);
  const auto text = header(signature_header);
  if (text.empty()) return SignatureFault{"it is not signed", printable(id)};
  if (id.empty()) return SignatureFault{"it does not say with which key it is signed", ""};
  const auto key = keys_->known.find(id);
  if (key == keys_->known.end())
    return SignatureFault{
        "it is signed with the key '" + printable(id) + "', which " + keys_->list + " does not have",
        printable(id)};
  const auto signature = from_base64(text);
  if (!signature) return SignatureFault{"its signature is not base64", id};
  try {
    if (key->second->verify(signing_text(envelope), *signature)) return std::nullopt;
  } catch (const Error& error) {
    if (error.code() != Exit::data) throw;
    return SignatureFault{error.what(), id};
  }
  return SignatureFault{
      "it was changed after it was signed, or signed with another key of the id '" + id + "'", id};
}

}  // namespace stem
