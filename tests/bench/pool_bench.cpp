// What it costs to run handlers in processes: a worker drains a queue of no-op jobs on SQLite, with threads
// and with processes by turns, results on.
//
//     pool_bench [ROUNDS] [JOBS]      in the current directory, which should be on a real disk

#include <malloc.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "worker_figures.hpp"

using namespace stem;

namespace {

constexpr int handlers = 4;

double drain(std::size_t count, bool processes) {
  std::string name = "pool-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  Config config;
  config.broker_url = "sqlite://" + (std::filesystem::absolute(name) / "jobs.db").string();
  config.concurrency = handlers;
  Registry tasks;
  tasks.add("bench.noop", [](TaskContext&) {});
  std::optional<ForkServer> forks;
  if (processes) forks.emplace(tasks, ForkServer::Settings{.node = "bench", .children = handlers});
  double length = 0;
  {
    const auto storage = open_storage(config);
    const auto jobs = some_jobs(count);
    rate_of(jobs, 500, [&](auto some) { storage.broker->publish(some); });
    Engine engine(engine_options(config), tasks, storage, Clock::system(), forks ? &*forks : nullptr);
    const auto begin = SteadyClock::now();
    engine.start();
    while (engine.counters().done < count) usleep(500);
    length = seconds_since(begin);
    engine.quiet();
    while (!engine.finished()) usleep(100);
  }
  std::filesystem::remove_all(name);
  return static_cast<double>(count) / length;
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 20'000;
  std::vector<double> threads, processes, ratios;
  for (std::size_t round = 0; round < rounds; ++round) {
    double rates[2];
    for (const bool first : {round % 2 == 0, round % 2 != 0}) rates[first] = drain(count, first);
    threads.push_back(rates[0]);
    processes.push_back(rates[1]);
    ratios.push_back(rates[1] / rates[0]);
  }
  print_figure("no-op jobs drained by a worker of 4 threads, SQLite, results on", median(threads), "jobs/s");
  print_figure("the same by a worker of 4 processes, against it", median(processes), "jobs/s",
               median(ratios));
}
