// Feeds the reader of environment files with texts, and checks what holds for every text: it is read, or refused with
// one message that names its line; what was read can be written down again and reads the same.
// With libFuzzer: `ninja -C build fuzz && build/tests/fuzz/fuzz-env-file`. Without it, as a test: a bounded
// number of texts, mutated at random from a few that know the grammar. Usage: env-file-mutations [TEXTS [SEED]]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stem/error.hpp>
#include <string>
#include <vector>

#include "service/env_file.hpp"

namespace {

void require(bool holds, const char* what, const std::string& text) {
  if (holds) return;
  std::fprintf(stderr, "not ok: %s, for %zu bytes:\n", what, text.size());
  for (const char c : text) std::fprintf(stderr, "\\x%02x", static_cast<unsigned char>(c));
  std::fputc('\n', stderr);
  std::abort();
}

/// As one line that stands for the same value.
std::string written(const stem::EnvFile::Entry& entry) {
  std::string line = entry.key + "=\"";
  for (const char c : entry.value) {
    if (c == '"' || c == '\\' || c == '`' || c == '$') line += '\\';
    line += c;
  }
  return line + "\"\n";
}

/// True if the text was accepted.
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
    for (const char c : message)
      require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "the message is one plain line", text);
    return false;
  }
  std::string again;
  std::size_t line = 1;
  for (const auto& entry : file.entries) {
    require(!entry.key.empty() && entry.key.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
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

}  // namespace

#ifdef STEM_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}

#else

int main(int count, char** words) {
  if (count > 1 && words[1][0] == '-') {  // a choice of test cases: this is none
    std::puts("0 passed, 0 failed, 0 skipped");
    return 0;
  }
  const unsigned long texts = count > 1 ? std::strtoul(words[1], nullptr, 10) : 200'000;
  std::mt19937_64 chance(count > 2 ? std::strtoul(words[2], nullptr, 10) : 1);
  const std::vector<std::string> seeds = {
      "A=1\nB=two words  # none\n", "A=\"x\\\ny\" 'z'\n# c\n; d\n", "export A=\\\\\\$\\ \r\nB='l1\nl2'\n",
      "  A = \xC3\xA9\xF0\x9F\x8C\xB1\\\n  more\n", "# c\\\n# d\nA=\nB=a=b==\n", "A=\"\\a\\`\\\"\"\tb'c'\n",
  };
  const std::string grammar("\"'\\#;=\n\r\t $`A_9\0\xC3\xA9\xFF", 20);
  const auto below = [&](std::size_t bound) { return std::uniform_int_distribution<std::size_t>(0, bound - 1)(chance); };
  unsigned long accepted = 0;
  for (unsigned long i = 0; i < texts; ++i) {
    auto text = seeds[below(seeds.size())];
    if (below(4) == 0) text += seeds[below(seeds.size())];
    for (auto changes = 1 + below(6); changes > 0; --changes) {
      const auto at = below(text.size() + 1);
      switch (below(4)) {
        case 0:
          text.insert(at, 1, grammar[below(grammar.size())]);
          break;
        case 1:
          text.erase(at, 1 + below(3));
          break;
        case 2:
          if (at < text.size()) text[at] = grammar[below(grammar.size())];
          break;
        default:
          text.insert(at, text.substr(below(text.size() + 1), 1 + below(8)));
      }
    }
    accepted += check(text);
  }
  std::printf("%lu texts, %lu accepted\n", texts, accepted);
  return accepted > texts / 20 && accepted < texts ? 0 : 1;  // else these are no texts that test anything
}

#endif
