#pragma once

#include <string>
#include <string_view>

namespace stem::cli {

// Text on a live screen, where one character of a foreign name must not move others.

/// The text as UTF-8 without what has no shape of its own: control characters, marks that turn the direction
/// of writing, and bytes that are no UTF-8 become `?`. With `ascii`, everything that is not ASCII does.
std::string harmless(std::string_view text, bool ascii);

/// How many columns harmless text takes: two for a wide character, none for a combining one. As the locale
/// has it.
int columns_of(std::string_view text);

/// The beginning of the text that takes at most `width` columns; where some is left out, it ends with `…`, or
/// `~`.
std::string cut(std::string_view text, int width, bool ascii);

}  // namespace stem::cli
