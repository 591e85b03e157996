// Prints what an environment file sets, as KEY=value with a NUL after each, in the order of the file. A
// system test compares that with what a service gets from systemd for the same file.
#include <cstdio>
#include <stem/error.hpp>

#include "service/env_file.hpp"

int main(int count, char** words) {
  if (count != 2) return 64;
  try {
    for (const auto& entry : stem::EnvFile::read(words[1]).entries) {
      const auto text = entry.key + "=" + entry.value;
      std::fwrite(text.c_str(), 1, text.size() + 1, stdout);
    }
    return std::fflush(stdout) == 0 ? 0 : 73;
  } catch (const stem::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.code());
  }
}
