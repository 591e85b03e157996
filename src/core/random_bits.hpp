#pragma once

#include <cstdint>

namespace stem {

/// Of a fast generator, seeded by the kernel once for each thread and process: for ids, which need to be
/// unique, not secret. A forked child does not go on with the numbers of its parent. Thread-safe.
std::uint64_t random_bits();

}  // namespace stem
