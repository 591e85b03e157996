#include "cli/terminal.hpp"

#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stem/error.hpp>

#include "cli/curses_library.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

/// Pairs of colours by what they mean.
enum Pair : short { no_colour, good_colour, warning_colour, bad_colour };

using File = std::unique_ptr<FILE, int (*)(FILE*)>;

/// Where keys come from: standard input, or else the terminal that this process belongs to.
File keyboard() {
  const int fd = isatty(STDIN_FILENO) ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                      : ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  return {fd < 0 ? nullptr : fdopen(fd, "r"), std::fclose};
}

bool is_utf8() {
  std::setlocale(LC_CTYPE, "");
  return std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/// What a terminal of this type lacks; empty = nothing.
std::string lack_of(const CursesLibrary& curses, const char* type) {
  if (type == nullptr || *type == '\0') return "TERM is not set";
  int found = 0;
  if (curses.setupterm(type, STDOUT_FILENO, &found) != OK)
    return "the terminal type '" + printable(type) + "' (TERM) is not known here";
  const auto* moves = curses.tigetstr("cup");
  if (moves == nullptr || moves == reinterpret_cast<const char*>(-1))
    return "a terminal of the type '" + printable(type) + "' (TERM) cannot be drawn on";
  return {};
}

}  // namespace

struct Terminal::Screen {
  const CursesLibrary& curses;
  File keys;
  SCREEN* screen = nullptr;
  WINDOW* window = nullptr;
  bool ascii = false, colour = false;
  int rows = 0, columns = 0;
};

std::unique_ptr<Terminal> Terminal::open(bool colour, std::string& why) {
  if (!isatty(STDOUT_FILENO)) return nullptr;
  const CursesLibrary* curses = nullptr;
  try {
    curses = &curses_library();
  } catch (const Error& error) {
    why = error.what();
    return nullptr;
  }
  const bool ascii = !is_utf8();
  const char* const type = std::getenv("TERM");
  why = lack_of(*curses, type);
  if (!why.empty()) return nullptr;

  auto keys = keyboard();
  const auto one = std::make_unique<Screen>(Screen{.curses = *curses, .keys = std::move(keys)});
  std::fflush(stdout);
  one->screen = curses->newterm(type, stdout, one->keys ? one->keys.get() : stdin);
  if (one->screen == nullptr) {
    why = "the terminal cannot be drawn on";
    return nullptr;
  }
  one->ascii = ascii;
  one->window = curses->newwin(0, 0, 0, 0);
  if (one->window == nullptr) {
    curses->endwin();
    curses->delscreen(one->screen);
    why = "the terminal has no size";
    return nullptr;
  }
  curses->cbreak();
  curses->noecho();
  curses->set_escdelay(25);
  curses->keypad(one->window, true);
  curses->nodelay(one->window, true);
  curses->curs_set(0);
  one->colour = colour && curses->has_colors() && curses->start_color() == OK;
  if (one->colour) {
    const short behind = curses->use_default_colors() == OK ? -1 : COLOR_BLACK;
    curses->init_pair(good_colour, COLOR_GREEN, behind);
    curses->init_pair(warning_colour, COLOR_YELLOW, behind);
    curses->init_pair(bad_colour, COLOR_RED, behind);
  }
  auto terminal = std::unique_ptr<Terminal>(new Terminal(std::make_unique<Screen>(std::move(*one))));
  terminal->resize();
  return terminal;
}

Terminal::Terminal(std::unique_ptr<Screen> screen) : screen_(std::move(screen)) {}

Terminal::~Terminal() {
  screen_->curses.endwin();
  screen_->curses.delscreen(screen_->screen);
}

int Terminal::keys_fd() const {
  return screen_->keys ? fileno(screen_->keys.get()) : -1;
}

bool Terminal::ascii() const {
  return screen_->ascii;
}

Terminal::Size Terminal::size() const {
  return {screen_->rows, screen_->columns};
}

KeyPress Terminal::read_key() {
  const int key = screen_->curses.wgetch(screen_->window);
  switch (key) {
    case ERR:
      return {};
    case KEY_UP:
      return {Key::up};
    case KEY_DOWN:
      return {Key::down};
    case KEY_PPAGE:
      return {Key::page_up};
    case KEY_NPAGE:
      return {Key::page_down};
    case KEY_HOME:
      return {Key::home};
    case KEY_END:
      return {Key::end};
    case KEY_BTAB:
      return {Key::back_tab};
    case '\t':
      return {Key::tab};
    default:
      return {Key::character, key > 0 && key < 0x7f ? static_cast<char>(key) : '\0'};
  }
}

void Terminal::resize() {
  winsize now{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0 || now.ws_row == 0 || now.ws_col == 0)
    now = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  auto& screen = *screen_;
  if (screen.rows == now.ws_row && screen.columns == now.ws_col) return;
  screen.rows = now.ws_row;
  screen.columns = now.ws_col;
  screen.curses.resizeterm(screen.rows, screen.columns);
  screen.curses.wresize(screen.window, screen.rows, screen.columns);
  screen.curses.clearok(screen.window, true);
}

void Terminal::show(const std::vector<TopLine>& lines) {
  auto& [curses, keys, screen, window, ascii, colour, rows, columns] = *screen_;
  curses.werase(window);
  for (int row = 0; row < rows && row < static_cast<int>(lines.size()); ++row) {
    curses.wmove(window, row, 0);
    for (const auto& span : lines[static_cast<std::size_t>(row)]) {
      attr_t look = A_NORMAL;
      if (span.style.bold) look |= A_BOLD;
      if (span.style.reverse) look |= A_REVERSE;
      if (span.style.underline) look |= A_UNDERLINE;
      short pair = no_colour;
      switch (span.style.tone) {
        case Tone::plain:
          break;
        case Tone::faint:
          look |= span.style.reverse ? A_NORMAL : A_DIM;
          break;
        case Tone::good:
          pair = good_colour;
          break;
        case Tone::warning:
          pair = warning_colour;
          if (!colour) look |= A_BOLD;
          break;
        case Tone::bad:
          pair = bad_colour;
          look |= A_BOLD;
          break;
      }
      curses.wattr_set(window, look, colour ? pair : static_cast<short>(no_colour), nullptr);
      curses.waddnstr(window, span.text.c_str(), static_cast<int>(span.text.size()));
    }
  }
  curses.wattr_set(window, A_NORMAL, no_colour, nullptr);
  curses.wnoutrefresh(window);
  curses.doupdate();
}

void Terminal::suspend() {
  screen_->curses.endwin();
  stop_as_asked();
  // Here it was continued, perhaps in another window.
  take_back();
}

void Terminal::take_back() {
  screen_->curses.endwin();  // the next show() sets the modes again
  screen_->rows = 0;
  resize();
}

void stop_as_asked() {
  struct sigaction plain {
  }, ours{};
  plain.sa_handler = SIG_DFL;
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  sigaction(SIGTSTP, &plain, &ours);
  raise(SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &stop, &before);  // here
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  sigaction(SIGTSTP, &ours, nullptr);
}

}  // namespace stem::cli
