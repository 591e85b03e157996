#include "core/last_words.hpp"

#include <atomic>

namespace stem {
namespace {

using Function = void (*)();

/// As many as there may be copies of the library, and some.
std::atomic<Function> functions[8];
std::atomic<bool> is_expected{false};

}  // namespace

void LastWords::expect() {
  is_expected = true;
}

bool LastWords::expected() {
  return is_expected;
}

void LastWords::add(Function function) {
  for (auto& place : functions) {
    Function there = nullptr;
    if (place.compare_exchange_strong(there, function) || there == function) return;
  }
}

void LastWords::say() {
  for (auto& place : functions)
    if (const auto function = place.load()) function();
}

}  // namespace stem
