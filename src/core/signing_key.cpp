#include "core/signing_key.hpp"

#include <stem/error.hpp>

#include "core/signing_library.hpp"

namespace stem {
namespace {

[[noreturn]] void failed(const char* what) {
  signing_library().ERR_clear_error();
  throw Error(Exit::software,
              std::string("OpenSSL cannot ") + what + "; a provider may be missing: see openssl.cnf(5)");
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

struct Free {
  void operator()(EVP_MAC* mac) const { signing_library().EVP_MAC_free(mac); }
  void operator()(EVP_MAC_CTX* context) const { signing_library().EVP_MAC_CTX_free(context); }
  void operator()(EVP_PKEY* key) const { signing_library().EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* context) const { signing_library().EVP_MD_CTX_free(context); }
};
template <class T>
using Handle = std::unique_ptr<T, Free>;

class HmacKey : public SigningKey {
 public:
  explicit HmacKey(std::string_view key) {
    const Handle<EVP_MAC> mac(crypto_.EVP_MAC_fetch(nullptr, "HMAC", nullptr));
    if (!mac) failed("find HMAC");
    keyed_.reset(crypto_.EVP_MAC_CTX_new(mac.get()));
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {crypto_.OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                                     crypto_.OSSL_PARAM_construct_end()};
    if (!keyed_ || crypto_.EVP_MAC_init(keyed_.get(), bytes(key), key.size(), parameters) != 1)
      failed("set up HMAC with SHA-256");
  }

  std::string sign(std::string_view text) const override {
    // A copy of the context with the key hashed in is half the price of a new one, and needs no lock.
    const Handle<EVP_MAC_CTX> context(crypto_.EVP_MAC_CTX_dup(keyed_.get()));
    std::string signature(size, '\0');
    std::size_t length = 0;
    if (!context || crypto_.EVP_MAC_update(context.get(), bytes(text), text.size()) != 1 ||
        crypto_.EVP_MAC_final(context.get(), bytes(signature), &length, signature.size()) != 1 ||
        length != size)
      failed("make an HMAC");
    return signature;
  }

  bool verify(std::string_view text, std::string_view signature) const override {
    return signature.size() == size && crypto_.CRYPTO_memcmp(sign(text).data(), signature.data(), size) == 0;
  }

 private:
  static constexpr std::size_t size = 32;
  const SigningLibrary& crypto_ = signing_library();
  Handle<EVP_MAC_CTX> keyed_;
};

class Ed25519Key : public SigningKey {
 public:
  Ed25519Key(std::string_view raw, bool is_private) : is_private_(is_private) {
    if (raw.size() != 32)
      throw Error(Exit::config, "an Ed25519 key has 32 bytes, not " + std::to_string(raw.size()));
    const auto make = is_private ? crypto_.EVP_PKEY_new_raw_private_key : crypto_.EVP_PKEY_new_raw_public_key;
    key_.reset(make(EVP_PKEY_ED25519, nullptr, bytes(raw), raw.size()));
    if (!key_) failed("take an Ed25519 key");
  }

  std::string sign(std::string_view text) const override {
    if (!is_private_) throw Error(Exit::config, "a public key cannot sign");
    const Handle<EVP_MD_CTX> context(crypto_.EVP_MD_CTX_new());
    std::string signature(size, '\0');
    std::size_t length = signature.size();
    if (!context || crypto_.EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
        crypto_.EVP_DigestSign(context.get(), bytes(signature), &length, bytes(text), text.size()) != 1 ||
        length != size)
      failed("sign with Ed25519");
    return signature;
  }

  bool verify(std::string_view text, std::string_view signature) const override {
    const Handle<EVP_MD_CTX> context(crypto_.EVP_MD_CTX_new());
    if (!context || crypto_.EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1)
      failed("verify with Ed25519");
    const bool right = crypto_.EVP_DigestVerify(context.get(), bytes(signature), signature.size(),
                                                bytes(text), text.size()) == 1;
    if (!right) crypto_.ERR_clear_error();
    return right;
  }

  std::string public_half() const {
    std::string raw(32, '\0');
    std::size_t length = raw.size();
    if (crypto_.EVP_PKEY_get_raw_public_key(key_.get(), bytes(raw), &length) != 1 || length != raw.size())
      failed("derive a public key");
    return raw;
  }

 private:
  static constexpr std::size_t size = 64;
  const SigningLibrary& crypto_ = signing_library();
  const bool is_private_;
  Handle<EVP_PKEY> key_;
};

}  // namespace

std::unique_ptr<SigningKey> hmac_sha256_key(std::string_view key) {
  return std::make_unique<HmacKey>(key);
}
std::unique_ptr<SigningKey> ed25519_public_key(std::string_view raw) {
  return std::make_unique<Ed25519Key>(raw, false);
}
std::unique_ptr<SigningKey> ed25519_private_key(std::string_view raw) {
  return std::make_unique<Ed25519Key>(raw, true);
}
std::string ed25519_public_of(std::string_view raw_private) {
  return Ed25519Key(raw_private, true).public_half();
}

}  // namespace stem
