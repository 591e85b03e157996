#include "cli/yaml_scalar.hpp"

#include <charconv>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem::cli {
namespace {

[[noreturn]] void refuse(const std::string& text, const char* why) {
  throw Error(Exit::data, "the number '" + printable(text) + "' " + why + "; put it in quotes if it is text");
}

std::size_t count_of(std::string_view text, const char* signs) {
  return std::min(text.find_first_not_of(signs), text.size());
}

/// `digits` of base `base`, all of them.
Json whole_number(const std::string& text, std::string_view digits, int base, bool minus) {
  std::uint64_t value = 0;
  const auto error = std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec;
  constexpr auto lowest = std::uint64_t{1} << 63;
  if (error != std::errc{} || (minus && value > lowest)) refuse(text, "does not fit into 64 bits");
  if (!minus) return value;
  return value == lowest ? INT64_MIN : -static_cast<std::int64_t>(value);
}

/// Whether `rest` is what may follow a whole number in a fraction: `.5`, `e-3`, `.5E+7`, and not nothing.
bool is_fraction(std::string_view rest) {
  if (rest.starts_with('.')) rest.remove_prefix(1 + count_of(rest.substr(1), "0123456789"));
  if (!rest.starts_with('e') && !rest.starts_with('E')) return rest.empty();
  rest.remove_prefix(1);
  if (rest.starts_with('+') || rest.starts_with('-')) rest.remove_prefix(1);
  return !rest.empty() && count_of(rest, "0123456789") == rest.size();
}

}  // namespace

Json yaml_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const std::string_view all = text;
  if (all.starts_with("0x") && all.size() > 2 &&
      count_of(all.substr(2), "0123456789abcdefABCDEF") == all.size() - 2)
    return whole_number(text, all.substr(2), 16, false);
  if (all.starts_with("0o") && all.size() > 2 && count_of(all.substr(2), "01234567") == all.size() - 2)
    return whole_number(text, all.substr(2), 8, false);
  const bool minus = all.starts_with('-'), sign = minus || all.starts_with('+');
  const auto number = all.substr(sign ? 1 : 0);
  for (const char* word : {".inf", ".Inf", ".INF"})
    if (number == word) refuse(text, "is infinite, which JSON cannot say");
  for (const char* word : {".nan", ".NaN", ".NAN"})
    if (all == word) refuse(text, "is none, which JSON cannot say");
  const auto digits = count_of(number, "0123456789");
  if (digits > 0 && digits == number.size()) return whole_number(text, number, 10, minus);
  const bool starts =
      digits > 0 || (number.size() > 1 && number[0] == '.' && number[1] >= '0' && number[1] <= '9');
  if (!starts || !is_fraction(number.substr(digits))) return text;
  double value = 0;
  if (std::from_chars(number.data(), number.data() + number.size(), value).ec != std::errc{})
    refuse(text, "is too large or too small");
  return minus ? -value : value;
}

}  // namespace stem::cli
