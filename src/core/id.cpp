#include "core/id.hpp"

#include <pthread.h>
#include <sys/random.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <random>

namespace stem {
namespace {

std::uint64_t seed() {
  std::uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) bits = std::random_device{}();
  return bits;
}

/// In a child that was forked since the generator was seeded: it would go on as its parent does, and its
/// brothers.
std::atomic<bool> inherited{false};

/// For the generator and the last tick.
std::mutex making;

/// Another thread of the parent may have been about to make an id: nobody here would unlock it.
void in_child() {
  new (&making) std::mutex;
  inherited = true;
}

/// A fast generator, seeded by the kernel: ids need to be unique, not secret. For one thread at a time.
std::uint64_t random_bits() {
  static std::mt19937_64 generator = [] {
    pthread_atfork(nullptr, nullptr, in_child);
    return std::mt19937_64{seed()};
  }();
  if (inherited.exchange(false)) generator.seed(seed());
  return generator();
}

}  // namespace

std::string new_id(WallTime now) {
  static std::uint64_t last_tick = 0;

  std::uint64_t tick, random;
  {
    // RFC 9562 method 3: the 12 bits after the milliseconds continue the time stamp (1/4096 ms), and a call
    // within the same tick, or after the clock went back, takes the next one: so ids of one process never
    // sort backwards.
    const std::lock_guard lock(making);
    const auto micros = static_cast<std::uint64_t>(now.time_since_epoch().count());
    tick = (micros / 1000) << 12 | (micros % 1000) * 4096 / 1000;
    if (tick <= last_tick) tick = last_tick + 1;
    last_tick = tick;
    random = random_bits();
  }
  const std::uint64_t high = (tick >> 12) << 16 | 0x7000 | (tick & 0xfff);
  const std::uint64_t low = (random & 0x3fffffffffffffff) | 0x8000000000000000;

  static constexpr char digits[] = "0123456789abcdef";
  std::string id(36, '-');
  std::size_t at = 0;
  for (const auto half : {high, low}) {
    for (int shift = 60; shift >= 0; shift -= 4) {
      if (at == 8 || at == 13 || at == 18 || at == 23) ++at;
      id[at++] = digits[half >> shift & 0xf];
    }
  }
  return id;
}

}  // namespace stem
