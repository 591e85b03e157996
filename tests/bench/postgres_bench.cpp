// A whole worker on PostgreSQL: how fast it drains a queue of no-op jobs, results on, against the least that any worker
// there does, through libpq: lease 100, then delete them and lease the next 100, as two statements of one transaction in
// one pipeline. Both on one server that the program starts, durable, taking turns in one run. The bare loop keeps no
// ids, priorities, delays, or results. And how long it takes from enqueueing to the handler of an idle worker.
//
//     postgres_bench [ROUNDS] [JOBS]

#include <libpq-fe.h>
#include <malloc.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include "../unit/postgres_server.hpp"
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

Config config_on(const PostgresServer& server, std::size_t round) {
  Config config;
  config.broker_url = server.url("schema=ours" + std::to_string(round));
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
  explicit BareLoop(const PostgresServer& server) : connection_(PQconnectdb(server.url().c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(connection_));
    PQsetNoticeProcessor(connection_, [](void*, const char*) {}, nullptr);
    run("DROP TABLE IF EXISTS bare; CREATE TABLE bare(id bigserial PRIMARY KEY, lease bigint NOT NULL DEFAULT 0, wire text NOT NULL)");
    prepare("fill", "INSERT INTO bare(wire) SELECT unnest($1::text[])");
    prepare("end", "DELETE FROM bare WHERE id = ANY($1::bigint[])");
    prepare("lease", "UPDATE bare SET lease = $1::bigint WHERE id IN (SELECT id FROM bare WHERE lease = 0 ORDER BY id LIMIT 100 "
                     "FOR UPDATE SKIP LOCKED) RETURNING id, wire");
    PQenterPipelineMode(connection_);
  }
  ~BareLoop() { PQfinish(connection_); }
  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  /// The same texts as ours, without what ours keeps beside them.
  double publish(const std::vector<Envelope>& jobs) {
    const auto begin = Steady::now();
    for (std::size_t i = 0; i < jobs.size(); i += batch) {
      std::string array = "{";
      for (auto j = i; j < std::min(jobs.size(), i + batch); ++j) {
        array += array.size() > 1 ? ",\"" : "\"";
        for (const char c : to_wire(jobs[j])) {
          if (c == '"' || c == '\\') array += '\\';
          array += c;
        }
        array += '"';
      }
      array += "}";
      send("fill", array);
      PQpipelineSync(connection_);
      finish();
    }
    return static_cast<double>(jobs.size()) / seconds_since(begin);
  }
  double drain(std::size_t count) {
    const auto begin = Steady::now();
    std::size_t done = 0, size = 0;
    std::string leased;
    do {
      if (size > 0) send("end", "{" + leased + "}");
      send("lease", std::to_string(Steady::now().time_since_epoch().count()));
      PQpipelineSync(connection_);
      done += size;
      size = 0;
      leased.clear();
      finish([&](PGresult* rows) {
        for (int row = 0; row < PQntuples(rows); ++row, ++size) {
          if (!leased.empty()) leased += ',';
          leased += PQgetvalue(rows, row, 0);
          wires_ += static_cast<std::size_t>(PQgetlength(rows, row, 1));
        }
      });
    } while (size > 0);
    const double length = seconds_since(begin);
    PQexitPipelineMode(connection_);
    run("DROP TABLE bare");
    if (done != count || wires_ == 0) throw std::runtime_error("the bare loop left jobs");
    return static_cast<double>(count) / length;
  }

 private:
  void run(const char* sql) {
    auto* const result = PQexec(connection_, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) throw std::runtime_error(PQerrorMessage(connection_));
    PQclear(result);
  }
  void prepare(const char* name, const char* sql) { PQclear(PQprepare(connection_, name, sql, 0, nullptr)); }
  void send(const char* name, const std::string& parameter) {
    const char* value = parameter.c_str();
    if (PQsendQueryPrepared(connection_, name, 1, &value, nullptr, nullptr, 0) == 0) throw std::runtime_error(PQerrorMessage(connection_));
  }
  template <class Take>
  void finish(Take take) {
    for (;;) {
      auto* const result = PQgetResult(connection_);
      if (result == nullptr) continue;
      const auto status = PQresultStatus(result);
      if (status == PGRES_TUPLES_OK) take(result);
      PQclear(result);
      if (status == PGRES_PIPELINE_SYNC) return;
      if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw std::runtime_error(PQerrorMessage(connection_));
    }
  }
  void finish() {
    finish([](PGresult*) {});
  }

  PGconn* connection_;
  std::size_t wires_ = 0;
};

/// From the call of publish() to the handler, in milliseconds.
std::vector<double> latencies(const Config& config, std::size_t count) {
  const auto storage = open_storage(config);
  Registry tasks;
  std::mutex mutex;
  std::condition_variable ran;
  std::optional<Steady::time_point> at;
  tasks.add("bench.noop", [&](TaskContext&) {
    const std::lock_guard lock(mutex);
    at = Steady::now();
    ran.notify_one();
  });
  Engine engine(engine_options(config), tasks, storage);
  engine.start();
  const auto producer = open_storage(config);
  std::vector<double> all;
  for (std::size_t i = 0; i < count; ++i) {
    const auto job = some_job(i);
    const auto begin = Steady::now();
    producer.broker->publish({&job, 1});
    std::unique_lock lock(mutex);
    ran.wait(lock, [&] { return at.has_value(); });
    if (i >= 20) all.push_back(std::chrono::duration<double, std::milli>(*at - begin).count());
    at.reset();
    lock.unlock();
    usleep(3'000);  // until it is idle again
  }
  engine.quiet();
  while (!engine.finished()) usleep(100);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 60'000;
  // Half of what a worker holds is on its way in each exchange: 200 held make the bare loop's batches of 100.
  const std::size_t same = 2 * batch, own = EngineOptions{}.most_ahead;
  std::vector<double> rates[2], ratios[2], bulk, bulk_ratios;
  for (std::size_t round = 0; round < rounds; ++round) {
    const PostgresServer server({"fsync=on"});
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
  const PostgresServer server({"fsync=on"});
  const auto idle = latencies(config_on(server, 0), 320);
  print_figure("postgresql: no-op jobs drained by a worker of 8 threads, results on, against the bare loop, same batches",
               median(rates[0]), "jobs/s", median(ratios[0]), 0.5);
  print_figure("postgresql: the same with the worker's own batches", median(rates[1]), "jobs/s", median(ratios[1]));
  print_figure("postgresql: publish in hundreds", median(bulk), "jobs/s", median(bulk_ratios));
  print_figure("postgresql: enqueue to handler on an idle worker, p50", idle.at(idle.size() / 2), "ms");
  print_figure("postgresql: the same, p99", idle.at(idle.size() * 99 / 100), "ms");
}
