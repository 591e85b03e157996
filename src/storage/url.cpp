#include "storage/url.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <stem/error.hpp>

namespace stem {
namespace {

std::string decode(std::string_view text, const std::string& scheme) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    unsigned value = 0;
    const auto* const begin = text.data() + i + 1;
    const auto* const end = text.data() + std::min(text.size(), i + 3);
    // A NUL would cut the text short wherever it is used as a path.
    if (end - begin != 2 || std::from_chars(begin, end, value, 16).ptr != end || value == 0)
      throw Error(Exit::config, "bad " + scheme +
                                    ":// address: '%' must be followed by two hexadecimal digits; "
                                    "write %25 for the character itself");
    plain += static_cast<char>(value);
    i += 2;
  }
  return plain;
}

}  // namespace

std::string Url::decoded(std::string_view part) const {
  return decode(part, scheme);
}

Url Url::parse(std::string_view text) {
  const auto colon = text.find("://");
  if (colon == std::string_view::npos || colon == 0)
    throw Error(
        Exit::config,
        "a broker or result backend address has no scheme; write it like sqlite:///var/lib/stem/stem.db");
  Url url;
  url.scheme = text.substr(0, colon);
  std::transform(url.scheme.begin(), url.scheme.end(), url.scheme.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr const char* letters = "abcdefghijklmnopqrstuvwxyz";
  if (url.scheme.find_first_of(letters) != 0 ||
      url.scheme.find_first_not_of(std::string(letters) + "0123456789+.-") != std::string::npos)
    throw Error(Exit::config,
                "what a broker or result backend address has before :// is not a scheme; write it like "
                "sqlite:///var/lib/stem/stem.db");
  auto rest = text.substr(colon + 3);
  const auto question = rest.find('?');
  url.raw_location = rest.substr(0, question);
  url.location = url.decoded(rest.substr(0, question));
  if (question == std::string_view::npos) return url;

  rest.remove_prefix(question + 1);
  while (!rest.empty()) {
    const auto one = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    const auto equals = one.find('=');
    const auto name = url.decoded(one.substr(0, equals));
    if (equals == std::string_view::npos || name.empty())
      throw Error(Exit::config,
                  "bad " + url.scheme + ":// address: parameters are written NAME=VALUE, joined by '&'");
    if (!url.parameters.emplace(name, url.decoded(one.substr(equals + 1))).second)
      throw Error(Exit::config, "bad " + url.scheme + ":// address: parameter '" + name + "' is given twice");
  }
  return url;
}

}  // namespace stem
