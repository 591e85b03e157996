#pragma once

#include <memory>
#include <optional>
#include <stem/config.hpp>
#include <stem/envelope.hpp>
#include <string>

namespace stem {

/// Why an envelope is not to be believed.
struct SignatureFault {
  std::string reason;  ///< one clause: "it is not signed"
  std::string key;     ///< the id of the key that it names; empty if it names none
};

/// Signs envelopes, and tells those that a holder of the keys has signed and nobody has changed. HMAC-SHA256
/// or Ed25519 over the canonical form of docs/signing.md, in the headers `stem-signature` and
/// `stem-signature-key`. Cheap to copy; thread-safe.
///
/// Stem, run_worker() and the scheduler make their own from their Config; a program needs this class only for
/// envelopes that it handles itself, or for a Stem with a signer of its own.
class PayloadSigner {
 public:
  /// The signer that `config` asks for by STEM_SIGNING_*, none if it asks for none. Loads OpenSSL's
  /// libcrypto. Throws Error (exit 78): the variables contradict each other, or a private key and the public
  /// one of its id are no pair.
  static std::optional<PayloadSigner> maybe(const Config& config);
  static std::optional<PayloadSigner> maybe(const SigningConfig& config);

  /// Whether sign() works: with Ed25519, whether the active key's private half is here.
  bool can_sign() const;
  /// Sets the two headers, in the place of others of that name. Any change of the envelope after this makes
  /// the signature wrong. Throws Error: 78 if this signer can only verify, and says what is missing; 65 if
  /// the arguments have no canonical form.
  void sign(Envelope& envelope) const;
  /// Empty if a known key, not only the active one, has signed exactly this envelope.
  std::optional<SignatureFault> verify(const Envelope& envelope) const;

 private:
  struct Keys;
  explicit PayloadSigner(std::shared_ptr<const Keys> keys) : keys_(std::move(keys)) {}

  std::shared_ptr<const Keys> keys_;
};

}  // namespace stem
