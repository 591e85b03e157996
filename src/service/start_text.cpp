#include "service/start_text.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace stem {

std::size_t unmap_start_text() {
  std::ifstream smaps("/proc/self/smaps");
  std::uintptr_t begin = 0, length = 0;
  std::size_t resident = 0, unmapped = 0;
  bool text = false;
  for (std::string line; std::getline(smaps, line);) {
    char mode[5] = "";
    unsigned long from = 0, to = 0, inode = 0, kilobytes = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %lu", &from, &to, mode, &inode) == 4) {
      begin = from;
      length = to - from;
      text = std::string_view(mode) == "r-xp" && inode != 0;
    } else if (text && std::sscanf(line.c_str(), "Rss: %lu", &kilobytes) == 1) {
      resident = kilobytes * 1024;
    } else if (text && std::sscanf(line.c_str(), "Anonymous: %lu", &kilobytes) == 1) {
      // What is only in the file can be had again.
      if (kilobytes == 0 && madvise(reinterpret_cast<void*>(begin), length, MADV_DONTNEED) == 0)
        unmapped += resident;
    }
  }
  return unmapped;
}

}  // namespace stem
