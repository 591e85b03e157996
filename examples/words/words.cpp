// Jobs that belong together. `words worker` runs a worker; `words count FILE...` counts the words of all
// files, each on whatever worker is free, and adds them up; `words longest FILE` takes three steps, one after
// the other.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stem/stem.hpp>
#include <stem/worker.hpp>

using namespace std::literals;

namespace {

std::vector<std::string> words_of(stem::TaskContext& job) {
  std::ifstream file(job.args().at("path").get<std::string>());
  if (!file) throw std::runtime_error("cannot read " + job.args().at("path").get<std::string>());
  return {std::istream_iterator<std::string>(file), {}};
}

std::size_t count(stem::TaskContext& job) {
  return words_of(job).size();
}

std::size_t sum(stem::TaskContext& job) {
  std::size_t total = 0;
  for (const auto& words : job.chord_results()) total += words.get<std::size_t>();
  return total;
}

std::string longest(stem::TaskContext& job) {
  const auto words = job.previous()->as<std::vector<std::string>>();
  const auto found = std::max_element(words.begin(), words.end(),
                                      [](const auto& a, const auto& b) { return a.size() < b.size(); });
  return found == words.end() ? "" : *found;
}

std::string shout(stem::TaskContext& job) {
  auto word = job.previous()->as<std::string>();
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
  return word;
}

void add_tasks(stem::Registry& tasks) {
  tasks.add("words.of", words_of);
  tasks.add("words.count", count,
            {.rate_limit = stem::RateLimit{1000, 1s},  // the files are on a disk that others use, too
             .expires = 1h});
  tasks.add("words.sum", sum);
  tasks.add("words.longest", longest);
  tasks.add("words.shout", shout);
}

int print(const std::optional<stem::Result>& result) {
  if (result && result->state == stem::TaskState::succeeded) return std::cout << result->value << '\n', 0;
  return std::cerr << "words: " << (result && result->failure ? result->failure->message : "no answer")
                   << '\n',
         1;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto config = stem::Config::from_environment();
  if (argc == 2 && argv[1] == "worker"sv) {
    stem::Registry tasks;
    add_tasks(tasks);
    return stem::run_worker(config, tasks);
  }
  if (argc < 3) return std::cerr << "usage: words worker | words count FILE... | words longest FILE\n", 64;
  const auto path = [&](int i) { return stem::Json{{"path", std::filesystem::absolute(argv[i]).string()}}; };
  stem::Stem stem{config};
  if (argv[1] == "count"sv) {
    std::vector<stem::Job> files;
    for (int i = 2; i < argc; ++i) files.push_back({"words.count", path(i)});
    const auto chord = stem.enqueue(stem::Chord{files, {"words.sum"}});
    return print(stem.wait(chord.callback, 1min));
  }
  const auto chain = stem.enqueue(stem::Chain{{{"words.of", path(2)}, {"words.longest"}, {"words.shout"}}});
  return print(stem.wait(chain.links.back(), 1min));
} catch (const stem::Error& error) {
  return std::cerr << "words: " << error.what() << '\n', static_cast<int>(error.code());
}
