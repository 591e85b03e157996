#pragma once

#include <atomic>
#include <cstdint>

namespace stem {

/// What the steps of a job's way write and STATUS=, watchdog, control socket and metrics only read.
struct Counters {
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<std::uint64_t> failed{0};      ///< attempts that ended for good: dead-lettered
  std::atomic<std::uint64_t> retried{0};     ///< attempts that failed and will be tried again
  std::atomic<std::uint64_t> cancelled{0};   ///< jobs that were revoked
  std::atomic<std::uint64_t> expired{0};     ///< jobs that were too late to begin
  std::atomic<std::uint64_t> limited{0};     ///< times that a job went back because of its task's rate limit
  std::atomic<std::uint64_t> lost{0};        ///< leases that another worker took over
  std::atomic<std::uint64_t> forged{0};      ///< of those, jobs that were unsigned or not rightly signed
  std::atomic<std::uint64_t> heartbeats{0};  ///< that were written
  std::atomic<std::uint64_t> crashed{0};     ///< processes of the pool that ended in the middle of a job
  std::atomic<int> busy{0};                  ///< handlers that run, stuck ones included
  std::atomic<int> stuck{0};                 ///< handlers that run on past their hard time limit
  std::atomic<int> childless{0};             ///< places of the pool whose process could not be started
};

}  // namespace stem
