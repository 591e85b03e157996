// A whole worker on SQLite: how fast it drains a queue of no-op jobs, results on, against the bare loop of
// bare_queue.hpp; and how soon a handler starts after an enqueue by another process while the worker is idle.
//
//     worker_bench [ROUNDS] [JOBS]      in the current directory, which should be on a real disk

#include <malloc.h>

#include <cstdlib>
#include <filesystem>

#include "bare_queue.hpp"
#include "worker_figures.hpp"

using namespace stem;

namespace {

struct TempDir {
  std::filesystem::path path;
  TempDir() {
    std::string name = "worker-bench-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path = std::filesystem::absolute(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
};

Config config_in(const TempDir& directory) {
  Config config;
  config.broker_url = "sqlite://" + (directory.path / "ours.db").string();
  config.concurrency = worker_threads;
  return config;
}

/// On a database of its own.
double drain_ours(const std::vector<Envelope>& jobs, std::size_t most_ahead) {
  const TempDir here;
  const auto config = config_in(here);
  const auto storage = open_storage(config);
  rate_of(jobs, 500, [&](auto some) { storage.broker->publish(some); });
  return drain_with_a_worker(config, jobs.size(), most_ahead);
}

double drain_bare(const TempDir& here, const std::vector<Envelope>& jobs) {
  BareQueue bare(here.path / "bare.db");
  std::vector<std::string> wires;
  for (const auto& job : jobs) wires.push_back(to_wire(job));
  for (auto rest = std::span<const std::string>(wires); !rest.empty();
       rest = rest.subspan(std::min<std::size_t>(500, rest.size())))
    bare.publish(rest.first(std::min<std::size_t>(500, rest.size())));
  const auto begin = SteadyClock::now();
  if (bare.drain() != jobs.size()) throw std::runtime_error("jobs are left");
  return static_cast<double>(jobs.size()) / seconds_since(begin);
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 60'000;
  std::vector<double> rates[2], ratios[2];
  for (std::size_t round = 0; round < rounds; ++round) {
    const TempDir here;
    const auto jobs = some_jobs(count);
    double mine[2], bare = 0;
    for (std::size_t turn = 0; turn < 3; ++turn) {
      const auto which = (turn + round) % 3;
      if (which == 2)
        bare = drain_bare(here, jobs);
      else
        mine[which] = drain_ours(jobs, held_ahead(which == 0));
    }
    for (int i = 0; i < 2; ++i) {
      rates[i].push_back(mine[i]);
      ratios[i].push_back(mine[i] / bare);
    }
  }
  print_figure(
      "sqlite: no-op jobs drained by a worker of 8 threads, results on, against the bare loop, same batches",
      median(rates[0]), "jobs/s", median(ratios[0]), 0.5);
  print_figure("sqlite: the same with the worker's own batches", median(rates[1]), "jobs/s",
               median(ratios[1]));

  const TempDir here;
  Latencies latencies;
  measure_latency(latencies, 400, config_in(here));
  print_latency("sqlite", latencies);
}
