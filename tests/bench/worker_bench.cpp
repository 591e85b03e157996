// A whole worker on SQLite: how fast it drains a queue of no-op jobs, results on, against the bare loop of
// bare_queue.hpp; and how soon a handler starts after an enqueue by another process while the worker is idle.
//
//     worker_bench [ROUNDS] [JOBS]      in the current directory, which should be on a real disk

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include "bare_queue.hpp"
#include "core/id.hpp"
#include "figure.hpp"
#include "worker/engine.hpp"

using namespace stem;
using Steady = std::chrono::steady_clock;

namespace {

constexpr int threads = 8;

Envelope some_job(std::size_t number) {
  Envelope job;
  const auto now = Clock::system().wall();
  job.id = new_id(now);
  job.name = "bench.noop";
  job.args = {{"number", number}};
  job.enqueued_at = now;
  job.max_retries = 3;
  job.meta = {{"stem.task", "bench.noop"}};
  return job;
}

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
  config.concurrency = threads;
  return config;
}

double drain_with_a_worker(const std::vector<Envelope>& jobs, std::size_t most_ahead) {
  const TempDir here;
  const auto config = config_in(here);
  const auto storage = open_storage(config);
  for (auto rest = std::span(jobs); !rest.empty(); rest = rest.subspan(std::min<std::size_t>(500, rest.size())))
    storage.broker->publish(rest.first(std::min<std::size_t>(500, rest.size())));
  Registry tasks;
  std::mutex mutex;
  std::condition_variable all_ran;
  std::atomic<std::size_t> ran{0};
  tasks.add("bench.noop", [&](TaskContext&) {
    if (++ran == jobs.size()) {
      const std::lock_guard lock(mutex);
      all_ran.notify_one();
    }
  });
  auto options = engine_options(config);
  options.most_ahead = most_ahead;
  Engine engine(options, tasks, storage);
  const auto begin = Steady::now();
  engine.start();
  std::unique_lock lock(mutex);
  all_ran.wait(lock, [&] { return ran == jobs.size(); });
  lock.unlock();
  engine.quiet();
  while (!engine.finished()) usleep(100);  // the last outcomes are settled
  const double length = std::chrono::duration<double>(Steady::now() - begin).count();
  if (!storage.broker->depths().empty() || engine.counters().done != jobs.size()) throw std::runtime_error("jobs are left");
  return static_cast<double>(jobs.size()) / length;
}

double drain_bare(const TempDir& here, const std::vector<Envelope>& jobs) {
  BareQueue bare(here.path / "bare.db");
  std::vector<std::string> wires;
  for (const auto& job : jobs) wires.push_back(to_wire(job));
  for (auto rest = std::span<const std::string>(wires); !rest.empty(); rest = rest.subspan(std::min<std::size_t>(500, rest.size())))
    bare.publish(rest.first(std::min<std::size_t>(500, rest.size())));
  const auto begin = Steady::now();
  if (bare.drain() != jobs.size()) throw std::runtime_error("jobs are left");
  return static_cast<double>(jobs.size()) / std::chrono::duration<double>(Steady::now() - begin).count();
}

/// Microseconds from before the enqueue, and from after it, to the handler's first instruction. Both processes read
/// the same monotonic clock.
struct Latencies {
  std::vector<double> before, after;
};

Latencies measure_latency(const TempDir& here, int count) {
  const auto config = config_in(here);
  int started[2];
  if (pipe(started) != 0) throw std::runtime_error("pipe");
  const pid_t worker = fork();
  if (worker == 0) {
    Registry tasks;
    tasks.add("bench.noop", [&](TaskContext&) {
      const auto now = Steady::now().time_since_epoch().count();
      if (write(started[1], &now, sizeof now) != sizeof now) _exit(1);
    });
    Engine engine(engine_options(config), tasks, open_storage(config));
    engine.start();
    pause();
    _exit(0);
  }
  const auto storage = open_storage(config);
  Latencies latencies;
  for (int i = 0; i < count; ++i) {
    const auto job = some_job(static_cast<std::size_t>(i));
    const auto before = Steady::now();
    storage.broker->publish(std::span(&job, 1));
    const auto after = Steady::now();
    Steady::rep at = 0;
    if (read(started[0], &at, sizeof at) != sizeof at) throw std::runtime_error("the worker ended");
    const Steady::time_point start{Steady::duration{at}};
    const auto micros = [&](Steady::time_point from) { return std::chrono::duration<double, std::micro>(start - from).count(); };
    if (i >= 20) {  // the first ones warm up
      latencies.before.push_back(micros(before));
      latencies.after.push_back(std::max(0.0, micros(after)));
    }
    usleep(10'000);  // idle again: settled, and asleep
  }
  kill(worker, SIGKILL);
  waitpid(worker, nullptr, 0);
  return latencies;
}

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values.at(std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size()))));
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 60'000;
  // Half of what a worker holds is on its way in each exchange: 200 held make the bare loop's batches of 100.
  const std::size_t same = 2 * bare_batch, own = EngineOptions{}.most_ahead;
  std::vector<double> rates[2], ratios[2];
  for (std::size_t round = 0; round < rounds; ++round) {
    const TempDir here;
    std::vector<Envelope> jobs;
    for (std::size_t i = 0; i < count; ++i) jobs.push_back(some_job(i));
    double mine[2], bare = 0;
    for (std::size_t turn = 0; turn < 3; ++turn) {
      const auto which = (turn + round) % 3;
      if (which == 2)
        bare = drain_bare(here, jobs);
      else
        mine[which] = drain_with_a_worker(jobs, which == 0 ? same : own);
    }
    for (int i = 0; i < 2; ++i) {
      rates[i].push_back(mine[i]);
      ratios[i].push_back(mine[i] / bare);
    }
  }
  print_figure("sqlite: no-op jobs drained by a worker of 8 threads, results on, against the bare loop, same batches",
               median(rates[0]), "jobs/s", median(ratios[0]), 0.5);
  print_figure("sqlite: the same with the worker's own batches", median(rates[1]), "jobs/s", median(ratios[1]));

  const TempDir here;
  const auto latencies = measure_latency(here, 420);
  print_figure("sqlite: from an enqueue that is durable to the handler, idle worker, p50", percentile(latencies.after, 0.5) / 1000, "ms", {}, 0.3);
  print_figure("sqlite: from an enqueue that is durable to the handler, idle worker, p99", percentile(latencies.after, 0.99) / 1000, "ms", {}, 1.0);
  print_figure("sqlite: from before the enqueue to the handler, idle worker, p50", percentile(latencies.before, 0.5) / 1000, "ms");
  print_figure("sqlite: from before the enqueue to the handler, idle worker, p99", percentile(latencies.before, 0.99) / 1000, "ms");
}
