#include "core/setting_value.hpp"

#include <algorithm>
#include <charconv>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem::setting_value {

void refuse(const std::string& accepted) {
  throw Error(Exit::config, accepted);
}

int whole(const std::string& value, int low, int high) {
  int number = 0;
  const auto end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc{} || rest != end || number < low || number > high)
    refuse("a whole number from " + std::to_string(low) + " to " + std::to_string(high));
  return number;
}

double real(const std::string& value, double low, double high, const char* range) {
  double number = 0;
  const auto end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc{} || rest != end || !(number >= low && number <= high)) refuse(range);
  return number;
}

Duration length(const std::string& value, Duration low) {
  Duration length{};
  try {
    length = parse_duration(value);
  } catch (const Error&) {
    refuse("a duration such as 250ms, 5s, 2m or 1h");
  }
  if (length < low) refuse("a duration of at least " + format_duration(low));
  return length;
}

std::string name(const std::string& value) {
  if (!is_name(value)) refuse("a name of A-Z a-z 0-9 _ . : - that starts with a letter or a digit");
  return value;
}

std::vector<std::string> split(const std::string& value, const char* separators) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; (at = value.find_first_not_of(separators, at)) != std::string::npos;) {
    const auto end = std::min(value.find_first_of(separators, at), value.size());
    if (auto part = value.substr(at, end - at); std::find(parts.begin(), parts.end(), part) == parts.end())
      parts.push_back(std::move(part));
    at = end;
  }
  return parts;
}

std::vector<std::string> names(const std::string& value, const char* separators) {
  auto parts = split(value, separators);
  for (const auto& part : parts)
    if (!is_name(part))
      refuse("names of A-Z a-z 0-9 _ . : - that start with a letter or a digit; '" + printable(part) +
             "' is none");
  return parts;
}

std::string one_of(const std::string& value, std::initializer_list<const char*> words) {
  std::string list;
  for (const auto* word : words) {
    if (value == word) return value;
    list += (list.empty() ? "" : ", ") + std::string(word);
  }
  refuse("one of " + list);
}

std::string trimmed(const std::string& value) {
  constexpr auto blanks = " \t\r\n";
  const auto begin = value.find_first_not_of(blanks);
  return begin == value.npos ? std::string()
                             : value.substr(begin, value.find_last_not_of(blanks) + 1 - begin);
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace stem::setting_value
