#include "cli/worker_multi_progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli/node_view.hpp"

namespace stem::cli {
namespace {

const char* waiting_word(Verb verb) {
  switch (verb) {
    case Verb::stop:
      return "stopping…";
    case Verb::restart:
      return "restarting…";
    case Verb::reload:
      return "reloading…";
    case Verb::enable:
      return "enabling…";
    case Verb::disable:
      return "disabling…";
    default:
      return "starting…";
  }
}

}  // namespace

MultiProgress::MultiProgress(const std::vector<std::string>& nodes, Verb verb, bool rolling, bool silent)
    : nodes_(nodes), verb_(verb), silent_(silent), waiting_(rolling ? "waiting…" : waiting_word(verb)) {
  winsize size{};
  in_place_ = !silent && isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
              nodes.size() < size.ws_row;
  columns_ = size.ws_col;
}

void MultiProgress::began() {
  if (!in_place_) return;
  for (const auto& node : nodes_) std::cout << node << "  " << waiting_ << '\n';
  std::cout.flush();
  shown_ = true;
}

void MultiProgress::ended(const NodeOutcome& outcome) {
  if (silent_) return;
  auto line = outcome_line(outcome, verb_);
  if (!shown_) {
    std::cout << line << std::endl;
    return;
  }
  // A line that the terminal breaks would throw out the count of lines.
  if (columns_ > 1 && line.size() >= columns_) line = line.substr(0, columns_ - 1);
  const auto at = std::find(nodes_.begin(), nodes_.end(), outcome.node) - nodes_.begin();
  const auto up = static_cast<std::ptrdiff_t>(nodes_.size()) - at;
  std::cout << "\x1b[" << up << "A\r\x1b[K" << line << "\x1b[" << up << "B\r" << std::flush;
}

}  // namespace stem::cli
