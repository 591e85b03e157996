// Tasks whose effects a test can see, and that misbehave as a test wants:
//
// - effect.append {"file", "text", "ms": 0}: sleeps, then appends `text` and a newline to `file`, at once
// - effect.sleep {"ms"}: sleeps; ends early, to be tried again, once it is cancelled
// - effect.hang {}: never returns, whatever it is told
// - effect.fail {"message"}: throws
// - effect.die {"signal"}: sends this signal to its own process
// - effect.crash {}: logs a line, then writes where there is no memory
// - effect.pid {}: returns its process
// - effect.enqueue {"task", "kept": false}: enqueues a job of `task`, with a Stem of its own or one that is
// kept
// - effect.limited {}: returns at once; one begins a second
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <stem/module.hpp>
#include <stem/stem.hpp>
#include <thread>

#include "append_line.hpp"

namespace effect {
namespace {

using std::chrono::milliseconds;

void append(stem::TaskContext& job) {
  const auto& args = job.args();
  std::this_thread::sleep_for(milliseconds(args.value("ms", 0)));
  append_line(args.at("file").get<std::string>(), args.at("text").get<std::string>(), 0644);
}

stem::Outcome sleep(stem::TaskContext& job) {
  const auto end = std::chrono::steady_clock::now() + milliseconds(job.args().at("ms").get<int>());
  while (std::chrono::steady_clock::now() < end) {
    if (job.cancelled()) return stem::Retry{"cancelled"};
    std::this_thread::sleep_for(milliseconds(5));
  }
  return stem::Done{job.args().at("ms")};
}

void hang(stem::TaskContext&) {
  for (;;) pause();
}

void fail(stem::TaskContext& job) {
  throw std::runtime_error(job.args().at("message").get<std::string>());
}

void limited(stem::TaskContext&) {}

std::string enqueue(stem::TaskContext& job) {
  const auto task = job.args().at("task").get<std::string>();
  if (!job.args().value("kept", false)) return stem::Stem(stem::Config::from_environment()).enqueue(task);
  static auto& kept = *new stem::Stem(stem::Config::from_environment());
  return kept.enqueue(task);
}

void die(stem::TaskContext& job) {
  raise(job.args().value("signal", SIGKILL));
}

void crash(stem::TaskContext& job) {
  job.log().info("about to crash");
  volatile std::uintptr_t nowhere = 8;
  *reinterpret_cast<volatile int*>(nowhere) = 1;
}

int pid(stem::TaskContext&) {
  return getpid();
}

}  // namespace
}  // namespace effect

STEM_MODULE(tasks) {
  tasks.add("effect.append", effect::append);
  tasks.add("effect.sleep", effect::sleep);
  tasks.add("effect.hang", effect::hang);
  tasks.add("effect.fail", effect::fail);
  tasks.add("effect.die", effect::die);
  tasks.add("effect.crash", effect::crash);
  tasks.add("effect.pid", effect::pid);
  tasks.add("effect.enqueue", effect::enqueue);
  tasks.add("effect.limited", effect::limited, {.rate_limit = stem::RateLimit{1, std::chrono::seconds{1}}});
}
