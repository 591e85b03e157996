#include "core/unique_key.hpp"

#include <algorithm>
#include <array>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/signing_library.hpp"

namespace stem {
namespace {

std::string sha256(const std::string& text) {
  const auto& library = signing_library();
  std::array<unsigned char, 32> digest{};
  std::size_t size = 0;
  if (library.EVP_Q_digest(nullptr, "SHA256", nullptr, text.data(), text.size(), digest.data(), &size) != 1 ||
      size != digest.size())
    throw Error(Exit::config,
                "OpenSSL's libcrypto has no SHA-256, which unique keys take; name the key instead");
  constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  for (const auto byte : digest) {
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return hex;
}

}  // namespace

std::string to_wire(const UniqueHolder& holder) {
  return Json{{"job", holder.job},
              {"until", holder.until == UniqueUntil::ended ? "ended" : "window"},
              {"published", holder.published}}
      .dump();
}

UniqueHolder unique_holder_from_wire(const std::string& wire) {
  try {
    const auto json = Json::parse(wire);
    return {json.at("job").get<std::string>(),
            json.at("until") == "window" ? UniqueUntil::window : UniqueUntil::ended,
            json.at("published").get<bool>()};
  } catch (const Json::exception& error) {
    throw Error(Exit::data, std::string("malformed holder of a unique key: ") + error.what());
  }
}

std::string unique_key(const std::string& chosen, const Json& args) {
  if (chosen.empty()) {
    try {
      return sha256(args.dump());
    } catch (const Json::exception&) {
      throw Error(Exit::data, "arguments must be UTF-8 text");
    }
  }
  if (chosen.size() > 128 ||
      !std::all_of(chosen.begin(), chosen.end(), [](char c) { return c >= 0x20 && c < 0x7f; }))
    throw Error(Exit::usage,
                "bad unique key '" + printable(chosen) + "'; a key is 1 to 128 printable ASCII characters");
  return chosen;
}

// Names of tasks hold `:`, but no `/`.
std::string unique_store_key(const std::string& task, const std::string& key) {
  return "unique:" + task + "/" + key;
}

}  // namespace stem
