#pragma once

#include <map>
#include <string>
#include <string_view>

namespace stem {

/// Reads `ID:BASE64,ID:BASE64`: ids with the bytes of their keys. Commas, blanks and line breaks separate.
/// `bytes` is the length that a key must have, 0 for any. Throws Error (exit 78) that says what a list must
/// be, and which entry is not, by its number: never what stands there.
std::map<std::string, std::string> signing_keys_from(std::string_view list, std::size_t bytes);

}  // namespace stem
