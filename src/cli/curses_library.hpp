#pragma once

#define NCURSES_NOMACROS 1
#include <curses.h>

// Of term.h, whose macros have names such as `columns` and `tab`, no more than this.
extern "C" int setupterm(const char* type, int fd, int* found);

namespace stem::cli {

/// The functions of ncursesw that Stem takes, by their own names. The library is loaded by the first call of
/// curses_library(): no other command pays for it.
struct CursesLibrary {
// clang-format off
#define STEM_CURSES_FUNCTIONS(X)                                                                                   \
  X(cbreak) X(clearok) X(curs_set) X(delscreen) X(doupdate) X(endwin) X(has_colors) X(init_pair) X(keypad)         \
  X(newterm) X(newwin) X(nodelay) X(noecho) X(redrawwin) X(resizeterm) X(set_escdelay) X(setupterm) X(start_color) \
  X(tigetstr) X(use_default_colors) X(waddnstr) X(wattr_set) X(wclrtoeol) X(werase) X(wgetch) X(wmove)             \
  X(wnoutrefresh) X(wresize)
// clang-format on
#define STEM_DECLARE(name) decltype(&::name) name;
  STEM_CURSES_FUNCTIONS(STEM_DECLARE)
#undef STEM_DECLARE
};

/// Throws Error (exit 78) if the library is not installed.
const CursesLibrary& curses_library();

}  // namespace stem::cli
