#include "telemetry/curl_library.hpp"

#include <cstdlib>
#include <stem/error.hpp>

#include "core/loaded_library.hpp"
#include "telemetry/tracer.hpp"

namespace stem {
namespace {

CurlLibrary load() {
  // Debian has two, of one interface, which differ in what does TLS for them.
  const LoadedLibrary curl("telling an OpenTelemetry collector", {"libcurl.so.4", "libcurl-gnutls.so.4"},
                           "(Debian: libcurl4)");
  CurlLibrary library{};
#define STEM_FIND(name) curl.find(#name, library.name);
  STEM_CURL_FUNCTIONS(STEM_FIND)
#undef STEM_FIND
  if (library.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    throw Error(Exit::config, "libcurl cannot be started");
  // OpenSSL has registered its end by now, and what is registered later is called sooner.
  std::atexit(&Tracer::end_all);
  return library;
}

}  // namespace

const CurlLibrary& curl_library() {
  static const CurlLibrary library = load();
  return library;
}

}  // namespace stem
