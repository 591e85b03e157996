#pragma once

#include <string>

namespace stem {

/// Makes `text` no longer than `most` bytes, before a final `…`; not in the middle of a UTF-8 character. What
/// it held beyond is given back to the heap.
void cut_text(std::string& text, std::size_t most);

}  // namespace stem
