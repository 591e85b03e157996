#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stem {

/// RFC 4648, section 4, padded.
std::string to_base64(std::string_view bytes);

/// Reads both alphabets of RFC 4648 (`+/` and `-_`); the padding must be there. Empty if `text` is anything
/// else.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace stem
