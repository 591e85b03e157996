#include "storage/postgres_library.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>
#include <string>
#include <type_traits>

namespace stem {
namespace {

constexpr const char* file = "libpq.so.5";

std::string last_error() {
  const char* error = dlerror();
  return error != nullptr ? error : "unknown error";
}

PostgresLibrary load() {
  void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    throw Error(Exit::config, "PostgreSQL takes its client library " + std::string(file) +
                                  ", which cannot be loaded (" + last_error() +
                                  "); install it (Debian: libpq5)");
  PostgresLibrary library{};
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr)
      throw Error(Exit::config, std::string(file) +
                                    " is older than PostgreSQL 14's and lacks what Stem takes (" +
                                    last_error() + "); install a newer one (Debian: libpq5)");
  };
#define STEM_FIND(name) find(library.name, #name);
  STEM_POSTGRES_FUNCTIONS(STEM_FIND)
#undef STEM_FIND
  return library;
}

}  // namespace

const PostgresLibrary& postgres_library() {
  static const PostgresLibrary library = load();
  return library;
}

}  // namespace stem
