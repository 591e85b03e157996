// What directories hold, in bytes, counted by workers. `du worker` runs one; `du DIR...` asks, waits and
// prints.
#include <filesystem>
#include <iostream>
#include <stem/stem.hpp>
#include <stem/worker.hpp>

using namespace std::literals;

std::uintmax_t bytes_below(stem::TaskContext& job) {
  std::uintmax_t bytes = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(job.args().at("path").get<std::string>()))
    if (entry.is_regular_file() && !entry.is_symlink()) bytes += entry.file_size();
  return bytes;
}

int main(int argc, char** argv) try {
  const auto config = stem::Config::from_environment();
  if (argc == 2 && argv[1] == "worker"sv) {
    stem::Registry tasks;
    tasks.add("du.bytes", bytes_below);
    return stem::run_worker(config, tasks);
  }
  stem::Stem stem{config};
  for (int i = 1; i < argc; ++i) {
    const auto id = stem.enqueue("du.bytes", {{"path", std::filesystem::absolute(argv[i]).string()}});
    const auto result = stem.wait(id, 1min);
    if (!result || result->state != stem::TaskState::succeeded)
      return std::cerr << argv[i] << ": no answer\n", 1;
    std::cout << result->as<std::uintmax_t>() << '\t' << argv[i] << '\n';
  }
} catch (const stem::Error& error) {
  return std::cerr << "du: " << error.what() << '\n', static_cast<int>(error.code());
}
