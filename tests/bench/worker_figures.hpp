#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/id.hpp"
#include "figure.hpp"
#include "worker/engine.hpp"

// What is measured of a worker on every kind of storage, in the same way.

using SteadyClock = std::chrono::steady_clock;

constexpr int worker_threads = 8;
/// Jobs that a bare loop takes and ends at once.
constexpr std::size_t bare_batch = 100;

inline stem::Envelope some_job(std::size_t number) {
  stem::Envelope job;
  const auto now = stem::Clock::system().wall();
  job.id = stem::new_id(now);
  job.name = "bench.noop";
  job.args = {{"number", number}};
  job.enqueued_at = now;
  job.max_retries = 3;
  job.meta = {{"stem.task", "bench.noop"}};
  return job;
}

inline std::vector<stem::Envelope> some_jobs(std::size_t count) {
  std::vector<stem::Envelope> jobs;
  for (std::size_t i = 0; i < count; ++i) jobs.push_back(some_job(i));
  return jobs;
}

inline double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

/// Jobs a second that `publish` takes, `at_once` at a time.
inline double rate_of(const std::vector<stem::Envelope>& jobs, std::size_t at_once,
                      const std::function<void(std::span<const stem::Envelope>)>& publish) {
  const auto begin = SteadyClock::now();
  for (auto rest = std::span(jobs); !rest.empty(); rest = rest.subspan(std::min(at_once, rest.size())))
    publish(rest.first(std::min(at_once, rest.size())));
  return static_cast<double>(jobs.size()) / seconds_since(begin);
}

/// How many jobs a worker holds. Half of them are on their way in each exchange: 200 make the bare loop's
/// batches of 100.
inline std::size_t held_ahead(bool as_the_bare_loop) {
  return as_the_bare_loop ? 2 * bare_batch : stem::EngineOptions{}.most_ahead;
}

/// Jobs a second, of `count` that wait.
inline double drain_with_a_worker(const stem::Config& config, std::size_t count, std::size_t most_ahead,
                                  std::shared_ptr<stem::Tracer> tracer = nullptr) {
  const auto storage = stem::open_storage(config);
  stem::Registry tasks;
  std::mutex mutex;
  std::condition_variable all_ran;
  std::atomic<std::size_t> ran{0};
  tasks.add("bench.noop", [&](stem::TaskContext&) {
    if (++ran == count) {
      const std::lock_guard lock(mutex);
      all_ran.notify_one();
    }
  });
  auto options = stem::engine_options(config);
  options.most_ahead = most_ahead;
  options.tracer = std::move(tracer);
  stem::Engine engine(options, tasks, storage);
  const auto begin = SteadyClock::now();
  engine.start();
  std::unique_lock lock(mutex);
  all_ran.wait(lock, [&] { return ran == count; });
  lock.unlock();
  engine.quiet();
  while (!engine.finished()) usleep(100);  // the last outcomes are settled
  const double length = seconds_since(begin);
  if (!storage.broker->depths().empty() || engine.counters().done != count)
    throw std::runtime_error("jobs are left");
  return static_cast<double>(count) / length;
}

/// Microseconds from before a job is enqueued, and from after it, to the handler's first instruction.
struct Latencies {
  std::vector<double> before, after;
};

/// Somebody who takes jobs in a process of its own, which calls `started` for each.
using Consumer = std::function<void(const std::function<void()>& started)>;
/// Called in this process, once, for what enqueues one job.
using Producer = std::function<std::function<void(std::size_t)>()>;

/// Adds `count` jobs, each enqueued while the consumer is idle. Both processes read the same monotonic clock.
inline void measure_latency(Latencies& latencies, std::size_t count, const Consumer& consume,
                            const Producer& produce) {
  constexpr std::size_t warming_up = 20;
  int started[2];
  if (pipe(started) != 0) throw std::runtime_error("pipe");
  const pid_t consumer = fork();
  if (consumer == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    consume([&] {
      const auto now = SteadyClock::now().time_since_epoch().count();
      if (write(started[1], &now, sizeof now) != sizeof now) _exit(1);
    });
    pause();
  }
  close(started[1]);
  const auto enqueue = produce();
  for (std::size_t i = 0; i < warming_up + count; ++i) {
    const auto before = SteadyClock::now();
    enqueue(i);
    const auto after = SteadyClock::now();
    SteadyClock::rep at = 0;
    if (read(started[0], &at, sizeof at) != sizeof at) throw std::runtime_error("the consumer ended");
    const SteadyClock::time_point start{SteadyClock::duration{at}};
    const auto micros = [&](SteadyClock::time_point from) {
      return std::chrono::duration<double, std::micro>(start - from).count();
    };
    if (i >= warming_up) {
      latencies.before.push_back(micros(before));
      latencies.after.push_back(std::max(0.0, micros(after)));
    }
    usleep(10'000);  // idle again: settled, and asleep
  }
  kill(consumer, SIGKILL);
  waitpid(consumer, nullptr, 0);
  close(started[0]);
}

/// The same with a worker.
inline void measure_latency(Latencies& latencies, std::size_t count, const stem::Config& config) {
  measure_latency(
      latencies, count,
      [&](const auto& started) {
        stem::Registry tasks;
        tasks.add("bench.noop", [&](stem::TaskContext&) { started(); });
        stem::Engine engine(stem::engine_options(config), tasks, stem::open_storage(config));
        engine.start();
        pause();
      },
      [&] {
        return [storage = stem::open_storage(config)](std::size_t number) {
          const auto job = some_job(number);
          storage.broker->publish({&job, 1});
        };
      });
}

inline double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values.at(
      std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size()))));
}

/// `bare`, if there is one, was measured beside it.
inline void print_latency(const std::string& storage, const Latencies& ours,
                          const Latencies* bare = nullptr) {
  struct Line {
    const char* from;
    const std::vector<double> Latencies::*values;
    std::optional<double> bars[2];
  };
  const Line lines[] = {{"an enqueue that is durable", &Latencies::after, {0.3, 1.0}},
                        {"before the enqueue", &Latencies::before, {}}};
  for (const auto& [from, values, bars] : lines)
    for (const auto high : {false, true}) {
      const auto share = high ? 0.99 : 0.5;
      const auto figure =
          storage + ": from " + from + " to the handler, idle worker, " + (high ? "p99" : "p50");
      const auto mine = percentile(ours.*values, share) / 1000;
      std::optional<double> ratio;
      if (bare != nullptr) {
        const auto theirs = percentile(bare->*values, share) / 1000;
        print_figure("  the same of the bare client", theirs, "ms");
        if (theirs > 0) ratio = mine / theirs;
      }
      print_figure(figure, mine, "ms", ratio, bars[high]);
    }
}

/// A worker and a producer on a server, against the least that any do there, taking turns in one run. `Bare`
/// is made of a server, and has publish(jobs) and drain(count); Bare::consume and Bare::produce are for
/// latencies.
template <class Server, class Bare>
void print_figures(const std::string& name, const std::vector<std::string>& options, std::size_t rounds,
                   std::size_t count,
                   const std::function<stem::Config(const Server&, const std::string& place)>& config_on) {
  constexpr std::size_t singles = 1000;
  std::vector<double> rates[2], ratios[2], bulk, bulk_ratios, single, single_ratios;
  Latencies ours, bares;
  for (std::size_t round = 0; round < rounds; ++round) {
    const Server server(options);
    const auto jobs = some_jobs(count);
    double mine[2] = {}, bare = 0, ours_in = 0, bare_in = 0, ours_one = 0, bare_one = 0;
    for (std::size_t turn = 0; turn < 3; ++turn) {
      const auto which = (turn + round) % 3;
      if (which == 2) {
        Bare loop(server);
        bare_in = rate_of(jobs, bare_batch, [&](auto some) { loop.publish(some); });
        bare = loop.drain(count);
        bare_one = rate_of(some_jobs(singles), 1, [&](auto one) { loop.publish(one); });
        loop.drain(singles);
        measure_latency(
            bares, 100, [&](const auto& started) { Bare::consume(server, started); },
            [&] { return Bare::produce(server); });
      } else {
        const auto config = config_on(server, which == 0 ? "same" : "own");
        const auto storage = stem::open_storage(config);
        const auto publish = [&](auto some) { storage.broker->publish(some); };
        ours_in = rate_of(jobs, bare_batch, publish);
        mine[which] = drain_with_a_worker(config, count, held_ahead(which == 0));
        if (which == 1) continue;
        const auto other = stem::open_storage(config_on(server, "single"));
        ours_one = rate_of(some_jobs(singles), 1, [&](auto one) { other.broker->publish(one); });
        measure_latency(ours, 100, config_on(server, "idle"));
      }
    }
    bulk.push_back(ours_in);
    bulk_ratios.push_back(ours_in / bare_in);
    single.push_back(ours_one);
    single_ratios.push_back(ours_one / bare_one);
    for (int i = 0; i < 2; ++i) {
      rates[i].push_back(mine[i]);
      ratios[i].push_back(mine[i] / bare);
    }
  }
  print_figure(
      name + ": no-op jobs drained by a worker of 8 threads, results on, against the bare loop, same batches",
      median(rates[0]), "jobs/s", median(ratios[0]), 0.5);
  print_figure(name + ": the same with the worker's own batches", median(rates[1]), "jobs/s",
               median(ratios[1]));
  print_figure(name + ": enqueued one by one", median(single), "jobs/s", median(single_ratios));
  print_figure(name + ": enqueued in hundreds", median(bulk), "jobs/s", median(bulk_ratios));
  print_latency(name, ours, &bares);
}
