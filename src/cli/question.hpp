#pragma once

#include <string>

namespace stem::cli {

/// Throws Error (exit 64) where nobody can be asked: what `--yes` is for. For before there is anything to ask
/// about.
void require_terminal();
/// Asks on the terminal; true for yes. Throws as require_terminal().
bool confirmed(const std::string& question);

}  // namespace stem::cli
