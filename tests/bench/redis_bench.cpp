// A whole worker on Redis: how fast it drains a queue of no-op jobs, results on, against the least that any worker on
// Redis Streams does, through hiredis: read 100, then acknowledge and delete them and read the next 100 in one
// pipeline. Both on one server that the program starts, taking turns in one run. The bare loop keeps no ids,
// leases of several workers, priorities, or results.
//
//     redis_bench [ROUNDS] [JOBS]

#include <hiredis/hiredis.h>
#include <malloc.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "../unit/redis_server.hpp"
#include "core/id.hpp"
#include "figure.hpp"
#include "worker/engine.hpp"

using namespace stem;
using Steady = std::chrono::steady_clock;

namespace {

constexpr int threads = 8;
constexpr std::size_t batch = 100;

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

double seconds_since(Steady::time_point begin) { return std::chrono::duration<double>(Steady::now() - begin).count(); }

double publish(Broker& broker, const std::vector<Envelope>& jobs) {
  const auto begin = Steady::now();
  for (auto rest = std::span(jobs); !rest.empty(); rest = rest.subspan(std::min(batch, rest.size())))
    broker.publish(rest.first(std::min(batch, rest.size())));
  return static_cast<double>(jobs.size()) / seconds_since(begin);
}

Config config_on(const RedisServer& server, std::size_t round) {
  Config config;
  config.broker_url = server.url("namespace=ours" + std::to_string(round));
  config.concurrency = threads;
  return config;
}

double drain_with_a_worker(const Config& config, std::size_t count, std::size_t most_ahead) {
  const auto storage = open_storage(config);
  Registry tasks;
  std::mutex mutex;
  std::condition_variable all_ran;
  std::atomic<std::size_t> ran{0};
  tasks.add("bench.noop", [&](TaskContext&) {
    if (++ran == count) {
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
  all_ran.wait(lock, [&] { return ran == count; });
  lock.unlock();
  engine.quiet();
  while (!engine.finished()) usleep(100);  // the last outcomes are settled
  const double length = seconds_since(begin);
  if (!storage.broker->depths().empty() || engine.counters().done != count) throw std::runtime_error("jobs are left");
  return static_cast<double>(count) / length;
}

class BareLoop {
 public:
  explicit BareLoop(const RedisServer& server) : context_(redisConnectUnix(server.socket().c_str())) {
    if (context_ == nullptr || context_->err != 0) throw std::runtime_error("redisConnectUnix");
  }
  ~BareLoop() { redisFree(context_); }
  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  /// The same bytes as ours, field by field, without what ours keeps beside them.
  double publish(const std::vector<Envelope>& jobs) {
    const auto begin = Steady::now();
    for (std::size_t i = 0; i < jobs.size(); i += batch) {
      const auto end = std::min(jobs.size(), i + batch);
      for (auto j = i; j < end; ++j) {
        const auto& job = jobs[j];
        const auto args = job.args.dump(), meta = job.meta.dump(), at = format_time(job.enqueued_at);
        redisAppendCommand(context_,
                           "XADD bare * id %s name %s args %s headers {} enqueuedAt %s notBefore %s priority 0 attempt 0 maxRetries 3 "
                           "visibilityTimeout %s queue default meta %s",
                           job.id.c_str(), job.name.c_str(), args.c_str(), at.c_str(), "", "", meta.c_str());
      }
      for (auto j = i; j < end; ++j) freeReplyObject(next());
    }
    return static_cast<double>(jobs.size()) / seconds_since(begin);
  }
  double drain(std::size_t count) {
    freeReplyObject(redisCommand(context_, "DEL nothing"));
    freeReplyObject(redisCommand(context_, "XGROUP CREATE bare workers 0 MKSTREAM"));
    const auto begin = Steady::now();
    std::size_t done = 0;
    std::vector<std::string> entries;
    do {
      for (const auto* command : {"XACK", "XDEL"}) {
        if (entries.empty()) break;
        std::vector<const char*> words{command, "bare"};
        if (command[1] == 'A') words.push_back("workers");
        for (const auto& entry : entries) words.push_back(entry.c_str());
        redisAppendCommandArgv(context_, static_cast<int>(words.size()), words.data(), nullptr);
      }
      redisAppendCommand(context_, "XREADGROUP GROUP workers one COUNT %d STREAMS bare >", static_cast<int>(batch));
      if (!entries.empty()) {
        freeReplyObject(next());
        freeReplyObject(next());
      }
      done += entries.size();
      entries.clear();
      auto* const reply = next();
      if (reply->type == REDIS_REPLY_ARRAY)
        for (std::size_t i = 0; i < reply->element[0]->element[1]->elements; ++i)
          entries.emplace_back(reply->element[0]->element[1]->element[i]->element[0]->str);
      freeReplyObject(reply);
    } while (!entries.empty());
    const double length = seconds_since(begin);
    freeReplyObject(redisCommand(context_, "DEL bare"));
    if (done != count) throw std::runtime_error("the bare loop left jobs");
    return static_cast<double>(count) / length;
  }

 private:
  redisReply* next() {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK) throw std::runtime_error("redisGetReply");
    return static_cast<redisReply*>(reply);
  }

  redisContext* context_;
};

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 60'000;
  // Half of what a worker holds is on its way in each exchange: 200 held make the bare loop's batches of 100.
  const std::size_t same = 2 * batch, own = EngineOptions{}.most_ahead;
  std::vector<double> rates[2], ratios[2], bulk, bulk_ratios;
  for (std::size_t round = 0; round < rounds; ++round) {
    const RedisServer server;
    std::vector<Envelope> jobs;
    for (std::size_t i = 0; i < count; ++i) jobs.push_back(some_job(i));
    double mine[2], bare = 0, ours_in = 0, bare_in = 0;
    for (std::size_t turn = 0; turn < 3; ++turn) {
      const auto which = (turn + round) % 3;
      if (which == 2) {
        BareLoop loop(server);
        bare_in = loop.publish(jobs);
        bare = loop.drain(count);
      } else {
        const auto config = config_on(server, which);
        ours_in = publish(*open_storage(config).broker, jobs);
        mine[which] = drain_with_a_worker(config, count, which == 0 ? same : own);
      }
    }
    bulk.push_back(ours_in);
    bulk_ratios.push_back(ours_in / bare_in);
    for (int i = 0; i < 2; ++i) {
      rates[i].push_back(mine[i]);
      ratios[i].push_back(mine[i] / bare);
    }
  }
  print_figure("redis: no-op jobs drained by a worker of 8 threads, results on, against the bare loop, same batches",
               median(rates[0]), "jobs/s", median(ratios[0]), 0.5);
  print_figure("redis: the same with the worker's own batches", median(rates[1]), "jobs/s", median(ratios[1]));
  print_figure("redis: publish in hundreds", median(bulk), "jobs/s", median(bulk_ratios));
}
