#include <doctest/doctest.h>

#include <fstream>
#include <string>

#include "service/start_text.hpp"

namespace {

std::size_t file_pages() {
  std::size_t size = 0, resident = 0, shared = 0;
  std::ifstream("/proc/self/statm") >> size >> resident >> shared;
  return shared;
}

}  // namespace

TEST_CASE("start text: what was mapped is unmapped, and the program runs on") {
  const auto before = file_pages();
  const auto unmapped = stem::unmap_start_text();
  const auto after = file_pages();
  CHECK(unmapped > 100'000);
  CHECK(after < before);
  CHECK(std::to_string(unmapped).size() > 5);  // code runs that was mapped before
}
