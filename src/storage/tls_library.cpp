#include "storage/tls_library.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>
#include <string>
#include <type_traits>

namespace stem {
namespace {

#define STEM_TEXT_OF(value) #value
#define STEM_TEXT(value) STEM_TEXT_OF(value)
/// The ones whose headers this was built with.
constexpr const char* libssl = "libssl.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);
constexpr const char* libcrypto = "libcrypto.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);

std::string last_error() {
  const char* error = dlerror();
  return error ? error : "unknown error";
}

void* open(const char* file) {
  void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw Error(Exit::config, "TLS takes OpenSSL's " + std::string(file) + ", which cannot be loaded (" +
                                  last_error() +
                                  "); install it (Debian: libssl3), or use an address without TLS");
  return handle;
}

template <class Function>
void find(void* handle, const char* file, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (!function) throw Error(Exit::config, std::string(file) + " lacks what TLS takes: " + last_error());
}

TlsLibrary load() {
  void* const ssl = open(libssl);
  void* const crypto = open(libcrypto);
  TlsLibrary library{};
#define STEM_FIND_SSL(name) find(ssl, libssl, #name, library.name);
#define STEM_FIND_CRYPTO(name) find(crypto, libcrypto, #name, library.name);
  STEM_LIBSSL_FUNCTIONS(STEM_FIND_SSL)
  STEM_TLS_LIBCRYPTO_FUNCTIONS(STEM_FIND_CRYPTO)
#undef STEM_FIND_SSL
#undef STEM_FIND_CRYPTO
  return library;
}

}  // namespace

const TlsLibrary& tls_library() {
  static const TlsLibrary library = load();
  return library;
}

}  // namespace stem
