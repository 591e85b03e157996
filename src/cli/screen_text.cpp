#include "cli/screen_text.hpp"

#include <wchar.h>

#include <algorithm>
#include <cstdint>

namespace stem::cli {
namespace {

struct Character {
  std::uint32_t code = 0;
  std::size_t length = 1;
  bool valid = false;
};

/// The character at the beginning of `text`, which is not empty.
Character first_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t length = lead >= 0xf0 && lead < 0xf5   ? 4
                             : lead >= 0xe0 && lead < 0xf0 ? 3
                             : lead >= 0xc2 && lead < 0xe0 ? 2
                                                           : 0;
  if (length == 0 || text.size() < length) return {};
  std::uint32_t code = lead & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fU);
  }
  const bool longer_than_needed = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (longer_than_needed || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, length, true};
}

/// Controls, and what changes how others are shown: directions, joiners, tags, variation selectors.
bool is_shapeless(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0xad || code == 0x61c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || (code >= 0xfe00 && code <= 0xfe0f) || code == 0xfeff ||
         (code >= 0xfff0 && code <= 0xfffb) || code >= 0xe0000;
}

int columns_of(std::uint32_t code) {
  return code < 0x80 ? 1 : std::max(wcwidth(static_cast<wchar_t>(code)), 0);
}

}  // namespace

std::string harmless(std::string_view text, bool ascii) {
  std::string out;
  while (!text.empty()) {
    const auto one = first_of(text);
    const bool shown = one.valid && !is_shapeless(one.code) &&
                       (one.code < 0x80 || (!ascii && wcwidth(static_cast<wchar_t>(one.code)) >= 0));
    if (shown)
      out += text.substr(0, one.length);
    else
      out += '?';
    text.remove_prefix(one.length);
  }
  return out;
}

int columns_of(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const auto one = first_of(text);
    columns += columns_of(one.code);
    text.remove_prefix(one.length);
  }
  return columns;
}

std::string cut(std::string_view text, int width, bool ascii) {
  if (columns_of(text) <= width) return std::string(text);
  if (width <= 0) return {};
  std::string out;
  int used = 0;
  while (!text.empty()) {
    const auto one = first_of(text);
    const int columns = columns_of(one.code);
    if (used + columns > width - 1) break;
    used += columns;
    out += text.substr(0, one.length);
    text.remove_prefix(one.length);
  }
  return out + (ascii ? "~" : "…");
}

}  // namespace stem::cli
