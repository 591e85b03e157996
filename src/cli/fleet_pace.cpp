#include "cli/fleet_pace.hpp"

#include <algorithm>
#include <set>

namespace stem::cli {
namespace {

double seconds_of(Duration length) {
  return static_cast<double>(length.count()) / 1e6;
}

void add(std::optional<double>& sum, double a_second) {
  sum = sum.value_or(0) + a_second;
}

void add(Rates& rates, const Ends& ends, double seconds) {
  add(rates.done, static_cast<double>(ends.done) / seconds);
  add(rates.failed, static_cast<double>(ends.failures()) / seconds);
}

template <class Key, class Value>
const Value& entry(const std::map<Key, Value>& map, const Key& key) {
  static const Value none{};
  const auto found = map.find(key);
  return found == map.end() ? none : found->second;
}

Json rate_json(const std::optional<double>& rate) {
  return rate ? Json(*rate) : Json();
}
Json ms_json(const std::optional<Duration>& length) {
  return length ? Json(seconds_of(*length) * 1000) : Json();
}

}  // namespace

const FleetPace::Past& FleetPace::remember(const Heartbeat& beat) {
  auto& past = pasts_[heartbeat_key(beat)];
  if (!past.empty() && past.back()->at >= beat.at) return past;
  auto figures = std::make_shared<const WorkerFigures>(figures_of(beat));
  if (!past.empty() && past.back()->started != figures->started) past.clear();
  past.push_back(std::move(figures));
  while (past.size() > 2 && past[1]->at <= beat.at - window) past.pop_front();
  return past;
}

FleetFigures FleetPace::take(const FleetSample& sample) {
  FleetFigures all;
  all.at = sample.at;
  std::set<std::string> living;
  std::map<std::string, FleetFigures::Task> tasks;
  std::map<std::string, std::pair<RunTimes, RunTimes>> times;  // lately, and ever
  std::map<std::string, Rates> queue_rates;
  for (const auto& beat : sample.beats) {
    living.insert(heartbeat_key(beat));
    const auto& past = remember(beat);
    FleetFigures::Worker worker{.key = heartbeat_key(beat),
                                .node = beat.node,
                                .host = beat.host,
                                .figures = past.back(),
                                .rates = {},
                                .late = beat.stale(sample.at)};
    const auto& now = *past.back();
    const bool two = past.size() > 1 && !worker.late;
    const auto& before = *past.front();
    const auto seconds = seconds_of(now.at - before.at);
    if (two)
      add(worker.rates, now.ends.since(before.ends), seconds);
    else if (now.recent && !worker.late)
      add(worker.rates, *now.recent, now.recent_seconds);
    for (const auto& [name, told] : now.tasks) {
      auto& task = tasks[name];
      task.ends.add(told.ends);
      times[name].second.add(told.times);
      if (!two) continue;
      const auto& then = entry(before.tasks, name);
      add(task.rates, told.ends.since(then.ends), seconds);
      times[name].first.add(told.times.since(then.times));
    }
    if (two)
      for (const auto& [name, told] : now.per_queue)
        add(queue_rates[name], told.since(entry(before.per_queue, name)), seconds);
    if (worker.late) {
      ++all.late;
    } else {
      all.busy += now.busy;
      all.concurrency += now.concurrency;
      if (worker.rates.done) add(all.rates.done, *worker.rates.done);
      if (worker.rates.failed) add(all.rates.failed, *worker.rates.failed);
    }
    all.workers.push_back(std::move(worker));
  }
  std::erase_if(pasts_, [&](const auto& one) { return !living.contains(one.first); });

  for (auto& [name, task] : tasks) {
    task.name = name;
    const auto& [lately, ever] = times[name];
    task.lately = lately.count() > 0;
    task.p50 = (task.lately ? lately : ever).quantile(0.5);
    task.p95 = (task.lately ? lately : ever).quantile(0.95);
    all.tasks.push_back(std::move(task));
  }
  for (auto& state : queue_states(sample)) {
    const auto& depth = state.depth;
    all.ready += depth.ready;
    all.delayed += depth.delayed;
    all.leased += depth.leased;
    all.dead += depth.dead;
    if (state.lag && (!all.lag || *state.lag > *all.lag)) all.lag = state.lag;
    const auto rates = entry(queue_rates, depth.queue);
    all.queues.push_back({std::move(state), rates});
  }
  return all;
}

Json to_json(const FleetFigures& figures) {
  auto queues = Json::array(), tasks = Json::array(), workers = Json::array();
  for (const auto& queue : figures.queues) {
    const auto& depth = queue.state.depth;
    queues.push_back({{"queue", depth.queue},
                      {"ready", depth.ready},
                      {"delayed", depth.delayed},
                      {"leased", depth.leased},
                      {"dead", depth.dead},
                      {"oldestReadyMs", ms_json(queue.state.lag)},
                      {"donePerSecond", rate_json(queue.rates.done)},
                      {"failedPerSecond", rate_json(queue.rates.failed)},
                      {"workers", queue.state.workers},
                      {"paused", queue.state.paused_for_all()}});
  }
  for (const auto& task : figures.tasks)
    tasks.push_back({{"task", task.name},
                     {"donePerSecond", rate_json(task.rates.done)},
                     {"failedPerSecond", rate_json(task.rates.failed)},
                     {"p50Ms", ms_json(task.p50)},
                     {"p95Ms", ms_json(task.p95)},
                     {"done", task.ends.done},
                     {"failed", task.ends.failed},
                     {"retried", task.ends.retried}});
  for (const auto& worker : figures.workers)
    workers.push_back({{"workerId", worker.node},
                       {"host", worker.host},
                       {"stale", worker.late},
                       {"busy", worker.figures->busy},
                       {"concurrency", worker.figures->concurrency},
                       {"inflight", worker.figures->inflight},
                       {"donePerSecond", rate_json(worker.rates.done)},
                       {"failedPerSecond", rate_json(worker.rates.failed)},
                       {"completed", worker.figures->ends.done},
                       {"failed", worker.figures->ends.failed},
                       {"memoryBytes", worker.figures->memory},
                       {"queues", worker.figures->queues}});
  return {{"at", format_time(figures.at)},
          {"donePerSecond", rate_json(figures.rates.done)},
          {"failedPerSecond", rate_json(figures.rates.failed)},
          {"busy", figures.busy},
          {"concurrency", figures.concurrency},
          {"ready", figures.ready},
          {"delayed", figures.delayed},
          {"leased", figures.leased},
          {"dead", figures.dead},
          {"oldestReadyMs", ms_json(figures.lag)},
          {"queues", std::move(queues)},
          {"tasks", std::move(tasks)},
          {"workers", std::move(workers)}};
}

}  // namespace stem::cli
