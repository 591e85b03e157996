#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

/// A reader of text from outside, and what holds for every text. One file each; it registers itself.
struct Target {
  const char* name;
  /// True if the text was accepted. Anything but an Error that leaves it is a failure.
  bool (*check)(const std::string& text);

  Target(const char* called, bool (*checks)(const std::string&)) : name(called), check(checks) {
    all().push_back(this);
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  static std::vector<const Target*>& all() {
    static std::vector<const Target*> targets;
    return targets;
  }
};

/// Ends the program if `what` does not hold for `text`.
inline void require(bool holds, const char* what, const std::string& text) {
  if (holds) return;
  std::fprintf(stderr, "not ok: %s, for %zu bytes:\n", what, text.size());
  for (const char c : text) std::fprintf(stderr, "\\x%02x", static_cast<unsigned char>(c));
  std::fputc('\n', stderr);
  std::abort();
}

/// A message for people: one line, without control characters.
inline void require_message(const std::string& message, const std::string& text) {
  require(!message.empty(), "a refusal says something", text);
  for (const char c : message)
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "the message is one plain line", text);
}
