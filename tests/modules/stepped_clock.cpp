// Loaded with LD_PRELOAD: CLOCK_REALTIME is the kernel's plus the nanoseconds in the file that STEPPED_CLOCK
// names, a signed number of 8 bytes as the machine stores it. Who writes there steps the clock of all
// processes that were started so, at once.
//
// What time(2), gettimeofday(2) and clock_gettime(2) say is stepped. Not stepped: CLOCK_MONOTONIC, as with a
// real step; times of files; timers and waits that end at a wall clock time (Stem has none: it sleeps by the
// monotonic clock); the clocks of servers and of programs that are linked statically.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

constexpr std::int64_t second = 1'000'000'000;

// Mapped by whoever reads a clock first, which may be before constructors have run.
std::int64_t offset() {
  static const volatile std::int64_t* page = [] {
    const char* path = std::getenv("STEPPED_CLOCK");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void* found = fd < 0 ? MAP_FAILED : mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (found == MAP_FAILED) abort();  // a test whose clock does not step would prove nothing
    return static_cast<const volatile std::int64_t*>(found);
  }();
  return *page;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* at) noexcept {
  const int status = static_cast<int>(syscall(SYS_clock_gettime, clock, at));
  if (status != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return status;
  const std::int64_t stepped = std::int64_t{at->tv_sec} * second + at->tv_nsec + offset();
  at->tv_sec = stepped / second;
  at->tv_nsec = stepped % second;
  return 0;
}

int gettimeofday(timeval* at, void*) noexcept {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* at) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
}
