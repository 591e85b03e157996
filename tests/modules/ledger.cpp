// Tasks for tests/chaos, whose ledger tells what has really happened:
//   ledger.note {"file", "n": 0, "ms": 0, "fail": 0, "dead": false}
// sleeps `ms`; throws while fewer than `fail` attempts were finished; else appends `ID N PID ATTEMPT
// NANOSECONDS` (CLOCK_MONOTONIC) to `file` in one write, so that lines of all workers stand whole beside each
// other; then is done with the value N, or, with `dead`, asks for the dead-letter queue.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <stdexcept>
#include <stem/module.hpp>
#include <system_error>
#include <thread>

namespace ledger {
namespace {

std::int64_t now() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  return std::int64_t{at.tv_sec} * 1'000'000'000 + at.tv_nsec;
}

stem::Outcome note(stem::TaskContext& job) {
  const auto& args = job.args();
  std::this_thread::sleep_for(std::chrono::milliseconds(args.value("ms", 0)));
  if (job.attempt() < args.value("fail", 0)) throw std::runtime_error("told to fail");
  const auto n = args.value("n", 0);
  const auto line = job.id() + " " + std::to_string(n) + " " + std::to_string(getpid()) + " " +
                    std::to_string(job.attempt()) + " " + std::to_string(now()) + "\n";
  const int fd =
      open(args.at("file").get<std::string>().c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0664);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "open");
  const auto written = write(fd, line.data(), line.size());
  const int error = errno;
  close(fd);
  if (written != static_cast<ssize_t>(line.size()))
    throw std::system_error(error, std::generic_category(), "write");
  if (args.value("dead", false)) return stem::Dead{"told to die"};
  return stem::Done{n};
}

}  // namespace
}  // namespace ledger

STEM_MODULE(tasks) {
  tasks.add("ledger.note", ledger::note);
}
