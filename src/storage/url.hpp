#pragma once

#include <map>
#include <string>
#include <string_view>

namespace stem {

/// Where a broker or result backend is: `SCHEME://LOCATION[?NAME=VALUE[&NAME=VALUE]…]`.
struct Url {
  std::string text;      ///< as it was given; may hold a password, so print it only where the scheme has none
  std::string scheme;    ///< lower case
  std::string location;  ///< what stands between `://` and `?`, percent-decoded
  std::map<std::string, std::string> parameters;  ///< percent-decoded

  /// Throws Error (exit 78): no scheme, a parameter without a value or given twice, a bad percent sequence.
  static Url parse(std::string_view text);
};

}  // namespace stem
