#include "service/command_line.hpp"

#include <cstring>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {

std::vector<std::string> split_command(std::string_view line) {
  const auto refuse = [&](const char* what) {
    return Error(Exit::config, "command `" + printable(line) + "`: " + what);
  };
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char c = line[at];
    if (c == '\0') throw refuse("a NUL byte; remove it");
    if (c == '\\' && quote != '\'') {
      if (++at == line.size()) throw refuse("a backslash at the end; write \\\\ for one that is meant");
      if (line[at] == '\n') continue;  // a line continued, as in a shell
      if (quote == '"' && !std::strchr("\"\\$`", line[at])) word += '\\';
      word += line[at];
      in_word = true;
    } else if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote) throw refuse("a quote is opened and never closed; close it");
  if (in_word) words.push_back(std::move(word));
  if (words.empty() || words.front().empty())
    throw refuse("no program; write the path of one and its arguments");
  return words;
}

}  // namespace stem
