#include "core/signing_key_list.hpp"

#include <stem/error.hpp>

#include "core/base64.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

[[noreturn]] void refuse(std::size_t number, const std::string& why) {
  throw Error(Exit::config,
              "a list of ID:BASE64, separated by commas; entry " + std::to_string(number) + " " + why);
}

}  // namespace

std::map<std::string, std::string> signing_keys_from(std::string_view list, std::size_t bytes) {
  constexpr auto separators = ", \t\r\n";
  std::map<std::string, std::string> keys;
  std::size_t number = 0;
  for (std::size_t at = 0; (at = list.find_first_not_of(separators, at)) != list.npos;) {
    const auto entry = list.substr(at, list.find_first_of(separators, at) - at);
    at += entry.size();
    ++number;
    const auto colon = entry.find(':');
    if (colon == entry.npos) refuse(number, "has no colon");
    if (entry.find(':', colon + 1) != entry.npos) refuse(number, "has two colons");
    const auto id = entry.substr(0, colon);
    if (!is_name(id))
      refuse(number, "has an id that is no name of A-Z a-z 0-9 _ . - that starts with a letter or a digit");
    const auto key = from_base64(entry.substr(colon + 1));
    if (!key) refuse(number, "has a key that is not base64 with its padding");
    if (key->empty()) refuse(number, "has an empty key");
    if (bytes && key->size() != bytes)
      refuse(number, "has a key of " + std::to_string(key->size()) + " bytes, where " +
                         std::to_string(bytes) + " are needed");
    const auto [known, fresh] = keys.emplace(id, *key);
    if (!fresh && known->second != *key) refuse(number, "has the id of an earlier one, and another key");
  }
  if (keys.empty()) refuse(1, "is missing");
  return keys;
}

}  // namespace stem
