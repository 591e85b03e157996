#include "core/random_bits.hpp"

#include <pthread.h>
#include <sys/random.h>

#include <atomic>
#include <random>

namespace stem {
namespace {

/// How many forks this process is away from the one that first asked. Cheaper to look at than getpid().
std::atomic<std::uint64_t> generation{1};

/// When the program is loaded, not at the first number: a fork in the midst of that would leave the child to
/// wait for a thread that it does not have. With no memory for it so early there is no program either.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { ++generation; });

std::uint64_t seed() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = std::random_device{}();
  return bits;
}

}  // namespace

std::uint64_t random_bits() {
  thread_local std::uint64_t seeded = 0;
  thread_local std::mt19937_64 generator;
  if (const auto now = generation.load(std::memory_order_relaxed); seeded != now) {
    generator.seed(seed());
    seeded = now;
  }
  return generator();
}

}  // namespace stem
