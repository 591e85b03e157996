#include "cli/curses_library.hpp"

#include "core/loaded_library.hpp"

namespace stem::cli {
namespace {

CursesLibrary load() {
  const LoadedLibrary curses("a live screen", {"libncursesw.so.6"}, "(Debian: libncursesw6)");
  CursesLibrary library{};
#define STEM_FIND(name) curses.find(#name, library.name);
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
