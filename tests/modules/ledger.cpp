// Tasks for tests/chaos, whose ledger tells what has really happened:
//   ledger.note {"file", "n": 0, "ms": 0, "fail": 0, "dead": false}
// sleeps `ms`; throws while fewer than `fail` attempts were finished; else appends `ID N PID ATTEMPT
// NANOSECONDS` (CLOCK_MONOTONIC) to `file` in one write, so that lines of all workers stand whole beside each
// other; then is done with the value N, or, with `dead`, asks for the dead-letter queue.
#include <unistd.h>

#include <ctime>
#include <stdexcept>
#include <stem/module.hpp>
#include <thread>

#include "append_line.hpp"

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
  append_line(args.at("file").get<std::string>(),
              job.id() + " " + std::to_string(n) + " " + std::to_string(getpid()) + " " +
                  std::to_string(job.attempt()) + " " + std::to_string(now()),
              0664);
  if (args.value("dead", false)) return stem::Dead{"told to die"};
  return stem::Done{n};
}

}  // namespace
}  // namespace ledger

STEM_MODULE(tasks) {
  tasks.add("ledger.note", ledger::note);
}
