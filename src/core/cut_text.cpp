#include "core/cut_text.hpp"

#include <string_view>

namespace stem {

void cut_text(std::string& text, std::size_t most) {
  if (text.size() <= most) return;
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  std::string_view kept(text.data(), most);
  if (continues(text[most])) {
    // A character has at most three bytes that continue it; more are no UTF-8, and may be cut anywhere.
    for (int back = 0; back < 3 && !kept.empty() && continues(kept.back()); ++back) kept.remove_suffix(1);
    if (!kept.empty()) kept.remove_suffix(1);
  }
  std::string cut;
  cut.reserve(kept.size() + 3);
  text = std::move(cut.append(kept).append("…"));
}

}  // namespace stem
