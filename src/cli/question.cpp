#include "cli/question.hpp"

#include <unistd.h>

#include <iostream>
#include <stem/error.hpp>

namespace stem::cli {

void require_terminal() {
  if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
    throw Error(Exit::usage,
                "there is no terminal to ask on; say --yes if this is meant, or --dry-run to look");
}

bool confirmed(const std::string& question) {
  require_terminal();
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace stem::cli
