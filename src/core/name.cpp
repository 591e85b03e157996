#include "core/name.hpp"

#include <algorithm>
#include <cstdio>
#include <stem/error.hpp>

namespace stem {
namespace {

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && is_alphanumeric(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_alphanumeric(c) || c == '_' || c == '.' || c == ':' || c == '-';
         });
}

void require_name(std::string_view kind, std::string_view text) {
  if (is_name(text)) return;
  const std::string rule = "; a " + std::string(kind) +
                           " name is 1 to 128 of A-Z a-z 0-9 _ . : - and starts with a letter or a digit";
  if (text.empty()) throw Error(Exit::usage, "empty " + std::string(kind) + " name" + rule);
  throw Error(Exit::usage, "bad " + std::string(kind) + " name '" + printable(text) + "'" + rule);
}

void require_node_name(std::string_view text) {
  require_name("node", text);
  if (text == "scheduler")
    throw Error(Exit::usage,
                "bad node name 'scheduler': pidfile and control socket of that name are those of `stem "
                "scheduler`; choose another");
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escaped;
    }
  }
  return text.size() > 80 ? out + "…" : out;
}

}  // namespace stem
