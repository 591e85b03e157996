#pragma once

#include <initializer_list>
#include <stem/time.hpp>
#include <string>
#include <vector>

namespace stem {

/// How the text of a variable becomes a value. What is not accepted throws Error(Exit::config) with the words
/// that follow "must be" in the message, such as "a whole number from 1 to 9".
namespace setting_value {

[[noreturn]] void refuse(const std::string& accepted);

int whole(const std::string& value, int low, int high);
/// `range` says in words what is accepted.
double real(const std::string& value, double low, double high, const char* range);
/// As parse_duration(), of at least `low`.
Duration length(const std::string& value, Duration low);
/// A name as is_name() wants it.
std::string name(const std::string& value);
/// Parts between separators, each once, in their order; none is empty.
std::vector<std::string> split(const std::string& value, const char* separators);
/// As split(); each is a name.
std::vector<std::string> names(const std::string& value, const char* separators);
std::string one_of(const std::string& value, std::initializer_list<const char*> words);

/// Without blanks and ends of lines around it.
std::string trimmed(const std::string& value);
/// A-Z as a-z.
std::string lower(std::string text);

}  // namespace setting_value
}  // namespace stem
