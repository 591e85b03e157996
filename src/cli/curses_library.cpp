#include "cli/curses_library.hpp"

#include <dlfcn.h>

#include <stem/error.hpp>
#include <string>
#include <type_traits>

namespace stem::cli {
namespace {

constexpr const char* file = "libncursesw.so.6";

std::string last_error() {
  const char* error = dlerror();
  return error != nullptr ? error : "unknown error";
}

CursesLibrary load() {
  void* const handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    throw Error(Exit::config, "a live screen takes " + std::string(file) + ", which cannot be loaded (" +
                                  last_error() + "); install it (Debian: libncursesw6)");
  CursesLibrary library{};
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (function == nullptr)
      throw Error(Exit::config,
                  std::string(file) + " lacks what Stem takes (" + last_error() + "); install a newer one");
  };
#define STEM_FIND(name) find(library.name, #name);
  STEM_CURSES_FUNCTIONS(STEM_FIND)
#undef STEM_FIND
  return library;
}

}  // namespace

const CursesLibrary& curses_library() {
  static const CursesLibrary library = load();
  return library;
}

}  // namespace stem::cli
