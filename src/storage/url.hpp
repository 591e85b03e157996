#pragma once

#include <map>
#include <string>
#include <string_view>

namespace stem {

/// Where a broker or result backend is: `SCHEME://LOCATION[?NAME=VALUE[&NAME=VALUE]…]`.
struct Url {
  std::string scheme;        ///< lower case; begins with a letter, has only letters, digits, `+`, `.` and `-`
  std::string location;      ///< what stands between `://` and `?`, percent-decoded
  std::string raw_location;  ///< the same as it was written, for addresses whose parts are decoded one by one
  std::map<std::string, std::string> parameters;  ///< percent-decoded

  /// For messages: scheme and path, without what may hold a password: parameters, users, hosts.
  std::string shown() const {
    return scheme + "://" + (location.starts_with('/') ? location : std::string());
  }

  /// A part of raw_location. Throws Error as parse() does.
  std::string decoded(std::string_view part) const;

  /// Throws Error (exit 78), whose message repeats no more than shown(): no scheme, a parameter without a
  /// value or given twice, a bad percent sequence.
  static Url parse(std::string_view text);
};

}  // namespace stem
