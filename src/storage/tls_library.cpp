#include "storage/tls_library.hpp"

#include "core/loaded_library.hpp"

namespace stem {
namespace {

#define STEM_TEXT_OF(value) #value
#define STEM_TEXT(value) STEM_TEXT_OF(value)
/// The ones whose headers this was built with.
constexpr const char* libssl = "libssl.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);
constexpr const char* libcrypto = "libcrypto.so." STEM_TEXT(OPENSSL_SHLIB_VERSION);
constexpr const char* remedy = "(Debian: libssl3), or use an address without TLS";

TlsLibrary load() {
  const LoadedLibrary ssl("TLS", {libssl}, remedy), crypto("TLS", {libcrypto}, remedy);
  TlsLibrary library{};
#define STEM_FIND_SSL(name) ssl.find(#name, library.name);
#define STEM_FIND_CRYPTO(name) crypto.find(#name, library.name);
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
