#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace stem {

/// Names, each once, in their order.
inline std::vector<std::string> distinct(const std::vector<std::string>& names) {
  std::vector<std::string> once;
  for (const auto& name : names)
    if (std::find(once.begin(), once.end(), name) == once.end()) once.push_back(name);
  return once;
}

}  // namespace stem
