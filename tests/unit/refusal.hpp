#pragma once

#include <functional>
#include <stem/error.hpp>
#include <string>
#include <utility>

/// What a call fails with, as a pair to compare; {Exit::ok, ""} when it does not fail.
inline std::pair<stem::Exit, std::string> refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const stem::Error& error) {
    return {error.code(), error.what()};
  }
  return {stem::Exit::ok, ""};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}
