#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace stem {

/// One key, ready for use. Thread-safe. Signatures are raw bytes.
class SigningKey {
 public:
  virtual ~SigningKey() = default;
  /// Throws Error (exit 78) if this is a public key.
  virtual std::string sign(std::string_view text) const = 0;
  /// Takes the same time wherever a wrong signature differs from the right one.
  virtual bool verify(std::string_view text, std::string_view signature) const = 0;
};

/// HMAC of RFC 2104 with SHA-256; the key may have any length but 0.
std::unique_ptr<SigningKey> hmac_sha256_key(std::string_view key);
/// Ed25519 of RFC 8032, verification only. Throws Error (exit 78) unless `raw` is 32 bytes.
std::unique_ptr<SigningKey> ed25519_public_key(std::string_view raw);
/// The same for both. `raw` is the private key of RFC 8032, which others call the seed.
std::unique_ptr<SigningKey> ed25519_private_key(std::string_view raw);
/// The public half of a private key.
std::string ed25519_public_of(std::string_view raw_private);

}  // namespace stem
