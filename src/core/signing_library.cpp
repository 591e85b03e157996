#include "core/signing_library.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>
#include <string>
#include <type_traits>

namespace stem {
namespace {

#define STEM_TEXT_OF(value) #value
#define STEM_TEXT(value) STEM_TEXT_OF(value)
/// The one whose headers this was built with.
constexpr const char* file = "libcrypto.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);

std::string last_error() {
  const char* error = dlerror();
  return error ? error : "unknown error";
}

SigningLibrary load() {
  void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error(Exit::config, "signing takes OpenSSL's " + std::string(file) + ", which cannot be loaded (" +
                                  last_error() + "); install it (Debian: libssl3), or unset STEM_SIGNING_*");
  SigningLibrary library{};
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (!function)
      throw Error(Exit::config, std::string(file) + " lacks what signing takes: " + last_error());
  };
#define STEM_FIND(name) find(library.name, #name)
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
