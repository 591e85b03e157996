#pragma once

#include <string>
#include <string_view>

namespace stem {

/// An address for people: `redis://app:***@host:6379/0?password=***`. What may be a password is left out, and
/// so is a user without one, which may be a token, and every parameter that is not known to be harmless. Text
/// that is no address becomes `***`. One line, printable.
std::string redacted_url(std::string_view url);

/// `text` with every address in it as redacted_url() shows it, for lines that someone else wrote.
std::string redacted(std::string_view text);

}  // namespace stem
