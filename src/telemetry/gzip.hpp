#pragma once

#include <string>
#include <string_view>

namespace stem {

/// `text` in gzip's format (RFC 1952). Loads zlib, which libcurl needs anyway. Throws Error (exit 78) if it
/// cannot be.
std::string gzip(std::string_view text);

}  // namespace stem
