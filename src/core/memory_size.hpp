#pragma once

#include <cstdint>
#include <string_view>

namespace stem {

/// An amount of memory in bytes: `200000` and `200000K` are KiB, as Celery counts, `512M` MiB and `2G` GiB.
/// Throws Error (exit 64) with the text and the accepted forms.
std::uint64_t parse_memory_size(std::string_view text);

}  // namespace stem
