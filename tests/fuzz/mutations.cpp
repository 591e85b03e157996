// The targets without libFuzzer, as a test: all that is in the corpus, and a bounded number of texts that are
// mutated from it at random. Usage: mutations CORPUS [TEXTS [SEED [TARGET]]]
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>

#include "target.hpp"

using namespace std::string_view_literals;

namespace {

/// What stands for something in one of the grammars.
constexpr auto grammar = "\"'\\#;=\n\r\t $`A_9\0\xC3\xA9\xFF{}[]:,-*/+.@$LTZ01"sv;

std::vector<std::string> corpus_in(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(directory)) files.push_back(file.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> texts;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return texts;
}

std::string mutated(const std::vector<std::string>& seeds, std::mt19937_64& chance) {
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(chance);
  };
  auto text = seeds[below(seeds.size())];
  if (below(8) == 0) text += seeds[below(seeds.size())];
  for (auto changes = 1 + below(4); changes > 0; --changes) {
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
  return text;
}

}  // namespace

int main(int count, char** words) {
  if (count < 2 || words[1][0] == '-') {  // a choice of test cases: this is none
    std::puts("0 passed, 0 failed, 0 skipped");
    return 0;
  }
  const unsigned long texts = count > 2 ? std::strtoul(words[2], nullptr, 10) : 3'000;
  const unsigned long seed = count > 3 ? std::strtoul(words[3], nullptr, 10) : 1;
  int failed = 0;
  for (const auto* target : Target::all()) {
    if (count > 4 && std::strcmp(words[4], target->name) != 0) continue;
    const auto seeds = corpus_in(std::filesystem::path(words[1]) / target->name);
    if (seeds.empty()) return std::fprintf(stderr, "not ok: %s has no corpus\n", target->name), 1;
    std::mt19937_64 chance(seed);
    unsigned long accepted = 0;
    for (const auto& text : seeds) accepted += target->check(text);
    for (unsigned long i = 0; i < texts; ++i) accepted += target->check(mutated(seeds, chance));
    const auto all = texts + seeds.size();
    const bool tells = accepted > all / 200 && accepted < all;  // else these are no texts that test anything
    std::printf("%s %s: %lu texts, %lu accepted\n", tells ? "ok" : "not ok", target->name, all, accepted);
    failed += !tells;
  }
  return failed != 0;
}
