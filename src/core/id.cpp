#include "core/id.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/random_bits.hpp"

namespace stem {

std::string new_id(WallTime now) {
  // RFC 9562 method 3: the 12 bits after the milliseconds continue the time stamp (1/4096 ms), and a call
  // within the same tick, or after the clock went back, takes the next one: so ids of one process never sort
  // backwards.
  static std::atomic<std::uint64_t> last_tick{0};
  const auto micros = static_cast<std::uint64_t>(now.time_since_epoch().count());
  const std::uint64_t clock = (micros / 1000) << 12 | (micros % 1000) * 4096 / 1000;
  std::uint64_t last = last_tick.load(), tick = 0;
  do tick = std::max(clock, last + 1);
  while (!last_tick.compare_exchange_weak(last, tick));

  const std::uint64_t random = random_bits();
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
