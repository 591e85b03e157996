#include <cstdlib>
#include <stem/error.hpp>

#include "service/env_file.hpp"
#include "target.hpp"

namespace {

/// As one line that stands for the same value.
std::string written(const stem::EnvFile::Entry& entry) {
  std::string line = entry.key + "=\"";
  for (const char c : entry.value) {
    if (c == '"' || c == '\\' || c == '`' || c == '$') line += '\\';
    line += c;
  }
  return line + "\"\n";
}

/// What was read can be written down again and reads the same.
bool check(const std::string& text) {
  stem::EnvFile file;
  try {
    file = stem::EnvFile::parse(text, "f");
  } catch (const stem::Error& error) {
    const std::string message = error.what();
    require(error.code() == stem::Exit::config, "a refusal is a wrong configuration", text);
    require(message.starts_with("f:"), "a refusal names the line", text);
    const auto line = std::strtoul(message.c_str() + 2, nullptr, 10);
    std::size_t lines = 1;
    for (const char c : text) lines += c == '\n';
    require(line >= 1 && line <= lines, "the line is there", text);
    require_message(message, text);
    return false;
  }
  std::string again;
  std::size_t line = 1;
  for (const auto& entry : file.entries) {
    require(!entry.key.empty() &&
                entry.key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                            "0123456789_") == std::string::npos &&
                !(entry.key[0] >= '0' && entry.key[0] <= '9'),
            "a key is a name", text);
    require(entry.value.find('\0') == std::string::npos, "no value holds a NUL", text);
    require(entry.key.size() + entry.value.size() <= text.size(), "nothing is invented", text);
    require(entry.line >= line, "lines come in order", text);
    line = entry.line;
    again += written(entry);
  }
  const auto second = stem::EnvFile::parse(again, "f");
  require(second.entries.size() == file.entries.size(), "what was written has as many entries", text);
  for (std::size_t i = 0; i < file.entries.size(); ++i)
    require(second.entries[i].key == file.entries[i].key && second.entries[i].value == file.entries[i].value,
            "what was written reads the same", text);
  return true;
}

const Target env_file{"env-file", check};

}  // namespace
