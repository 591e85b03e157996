// libFuzzer's entry to the target that STEM_FUZZ_TARGET names: tool/fuzz.
#include <cstdint>
#include <cstring>

#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Target* const target = [] {
    const char* name = std::getenv("STEM_FUZZ_TARGET");
    for (const auto* one : Target::all())
      if (name != nullptr && std::strcmp(one->name, name) == 0) return one;
    std::fprintf(stderr, "STEM_FUZZ_TARGET names none of:");
    for (const auto* one : Target::all()) std::fprintf(stderr, " %s", one->name);
    std::fputc('\n', stderr);
    std::exit(64);
  }();
  target->check({reinterpret_cast<const char*>(data), size});
  return 0;
}
