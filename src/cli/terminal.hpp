#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/top_view.hpp"

namespace stem::cli {

/// What a person pressed: a character, or one of these.
enum class Key { none, up, down, page_up, page_down, home, end, tab, back_tab, character, closed };
struct KeyPress {
  Key key = Key::none;
  char character = 0;
};

/// The terminal as a screen of its own, by ncurses; as it was before when this goes away. One at a time.
class Terminal {
 public:
  /// Null where standard output is no terminal that can be drawn on; `why` says what it lacks, and is empty
  /// where there is none at all. Sets the locale of characters to the environment's.
  static std::unique_ptr<Terminal> open(bool colour, std::string& why);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  /// Polls readable when a key was pressed; -1 if nobody can press one.
  int keys_fd() const;
  /// The next key that was pressed; none if there is no more. Does not wait.
  KeyPress read_key();

  struct Size {
    int rows = 0, columns = 0;
  };
  Size size() const;
  /// The terminal may have another size.
  void resize();
  void show(const std::vector<TopLine>& lines);
  /// Gives the terminal back, stops this process until it is continued, and takes the terminal again. Where
  /// no shell could continue it, it goes on at once.
  void suspend();
  /// After a stop of which nobody was told before: the terminal may be in any state.
  void take_back();
  /// Whether it shows ASCII only.
  bool ascii() const;

 private:
  struct Screen;
  explicit Terminal(std::unique_ptr<Screen> screen);
  const std::unique_ptr<Screen> screen_;
};

/// Stops this process as Ctrl-Z would have, had the signal not been taken: in a process group that no shell
/// cares for, not at all. For one thread, which has SIGTSTP blocked.
void stop_as_asked();

}  // namespace stem::cli
