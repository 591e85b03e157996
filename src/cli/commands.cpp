#include "cli/commands.hpp"

namespace stem::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> all{};
  return all;
}

}  // namespace stem::cli
