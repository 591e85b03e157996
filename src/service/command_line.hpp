#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// Splits a line into words as a shell does, without expanding anything: blanks separate, '…' is literal, in
/// "…" a backslash escapes `"` `\` `$` and a backquote, elsewhere it escapes the next character. `""` is an
/// empty word. Throws Error (exit 78) for an unclosed quote, a backslash at the end, an empty line.
std::vector<std::string> split_command(std::string_view line);

}  // namespace stem
