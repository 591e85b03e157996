#pragma once

#include <string_view>
#include <vector>

namespace stem {

/// The entry of `known` that `typed` was most likely meant to be: the smallest edit distance (Damerau's,
/// adjacent letters swapped count as one), if it is at most a third of the length (two, for short words);
/// else empty.
std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& known);

}  // namespace stem
