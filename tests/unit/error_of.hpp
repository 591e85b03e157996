#pragma once

#include <stem/error.hpp>
#include <string>

/// What a call fails with; exit status 0 when it does not fail.
struct Failed {
  int status = 0;
  std::string message;

  bool says(const std::string& text) const { return message.find(text) != std::string::npos; }
  bool is_one_line() const { return !message.empty() && message.find('\n') == std::string::npos; }
};

template <class Call>
Failed error_of(Call call) {
  try {
    call();
  } catch (const stem::Error& error) {
    return {static_cast<int>(error.code()), error.what()};
  }
  return {};
}
