#include "telemetry/curl_library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <stem/error.hpp>
#include <string>

#include "telemetry/tracer.hpp"

namespace stem {
namespace {

std::string last_error() {
  const char* error = dlerror();
  return error ? error : "unknown error";
}

template <class Function>
void find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (!function) throw Error(Exit::config, "libcurl lacks what telling a collector takes: " + last_error());
}

CurlLibrary load() {
  // Debian has two, of one interface, which differ in what does TLS for them.
  void* handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  const auto why = handle ? std::string() : last_error();
  if (!handle) handle = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    std::string message = "telling an OpenTelemetry collector takes libcurl, which cannot be loaded (";
    throw Error(Exit::config, message.append(why).append("); install it (Debian: libcurl4)"));
  }
  CurlLibrary library{};
#define STEM_FIND(name) find(handle, #name, library.name);
  STEM_CURL_FUNCTIONS(STEM_FIND)
#undef STEM_FIND
  if (library.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
    throw Error(Exit::config, "libcurl cannot be started");
  // OpenSSL has registered its end by now, and what is registered later is called sooner.
  std::atexit(&Tracer::finish_all);
  return library;
}

}  // namespace

const CurlLibrary& curl_library() {
  static const CurlLibrary library = load();
  return library;
}

}  // namespace stem
