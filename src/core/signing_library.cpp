#include "core/signing_library.hpp"

#include "core/loaded_library.hpp"

namespace stem {
namespace {

#define STEM_TEXT_OF(value) #value
#define STEM_TEXT(value) STEM_TEXT_OF(value)
/// The one whose headers this was built with.
constexpr const char* file = "libcrypto.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);

SigningLibrary load() {
  const LoadedLibrary crypto("signing", {file}, "(Debian: libssl3), or unset STEM_SIGNING_*");
  SigningLibrary library{};
#define STEM_FIND(name) crypto.find(#name, library.name)
  STEM_FIND(CRYPTO_memcmp);
  STEM_FIND(ERR_clear_error);
  STEM_FIND(EVP_MAC_fetch);
  STEM_FIND(EVP_MAC_free);
  STEM_FIND(EVP_MAC_CTX_new);
  STEM_FIND(EVP_MAC_CTX_dup);
  STEM_FIND(EVP_MAC_CTX_free);
  STEM_FIND(EVP_MAC_init);
  STEM_FIND(EVP_MAC_update);
  STEM_FIND(EVP_MAC_final);
  STEM_FIND(OSSL_PARAM_construct_utf8_string);
  STEM_FIND(OSSL_PARAM_construct_end);
  STEM_FIND(EVP_PKEY_new_raw_private_key);
  STEM_FIND(EVP_PKEY_new_raw_public_key);
  STEM_FIND(EVP_PKEY_get_raw_public_key);
  STEM_FIND(EVP_PKEY_free);
  STEM_FIND(EVP_MD_CTX_new);
  STEM_FIND(EVP_MD_CTX_free);
  STEM_FIND(EVP_DigestSignInit);
  STEM_FIND(EVP_DigestSign);
  STEM_FIND(EVP_DigestVerifyInit);
  STEM_FIND(EVP_DigestVerify);
  STEM_FIND(EVP_Q_digest);
#undef STEM_FIND
  return library;
}

}  // namespace

const SigningLibrary& signing_library() {
  static const SigningLibrary library = load();
  return library;
}

}  // namespace stem
