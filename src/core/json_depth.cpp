#include "core/json_depth.hpp"

namespace stem {
namespace {

bool deeper_than(const Json& value, int levels) {
  if (!value.is_structured()) return false;
  if (levels == 0) return true;
  for (const auto& child : value)
    if (deeper_than(child, levels - 1)) return true;
  return false;
}

}  // namespace

bool text_too_deep(std::string_view text) {
  if (text.size() <= deepest_json) return false;  // each level takes a character: most texts are short
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > deepest_json) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

bool too_deep(const Json& value) {
  return deeper_than(value, deepest_json);
}

}  // namespace stem
