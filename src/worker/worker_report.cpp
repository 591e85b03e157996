#include "worker/worker_report.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stem/version.hpp>

#include "core/milliseconds.hpp"
#include "worker/engine.hpp"

namespace stem {
namespace {

constexpr std::size_t most_shown = 1000;

/// Resident memory, from /proc/self/statm; 0 where that cannot be read.
std::int64_t memory_bytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/statm", "re"), std::fclose);
  long long size = 0, resident = 0;
  if (!file || std::fscanf(file.get(), "%lld %lld", &size, &resident) != 2) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

Json shown(const HeldJob& job) {
  Json json{{"id", job.id}, {"task", job.task}, {"queue", job.queue}, {"attempt", job.attempt}};
  if (!job.running) return json;
  json["startedAt"] = format_time(job.started_at);
  json["runtimeMs"] = ms(job.runtime);
  if (job.child != 0) json["pid"] = job.child;
  json["status"] = job.cancelled ? "stopping" : "running";
  return json;
}

}  // namespace

Json WorkerReport::facts() const {
  const auto& counters = engine_.counters();
  const auto now = clock_.wall();
  double load[3] = {0, 0, 0};
  const int loads = getloadavg(load, 3);
  Json queues = Json::array();
  for (const auto& queue : engine_.subscriptions().queues()) queues.push_back(queue);
  return {{"pid", getpid()},
          {"stem", version},
          {"startedAt", format_time(started_)},
          {"uptimeMs", ms(now - started_)},
          {"concurrency", options_.concurrency},
          {"prefetch", options_.concurrency * options_.prefetch_multiplier},
          {"busy", counters.busy.load()},
          {"stuck", counters.stuck.load()},
          {"inflight", engine_.inflight()},
          {"started", counters.started.load()},
          {"completed", counters.done.load()},
          {"failed", counters.failed.load()},
          {"retried", counters.retried.load()},
          {"cancelled", counters.cancelled.load()},
          {"expired", counters.expired.load()},
          {"limited", counters.limited.load()},
          {"lost", counters.lost.load()},
          {"forged", counters.forged.load()},
          {"refusedOrders", listener_.refused()},
          {"queues", queues},
          {"broadcasts", engine_.subscriptions().channels()},
          {"pausedQueues", orders_.paused()},
          {"perTask", engine_.tallies().tasks()},
          {"perQueue", engine_.tallies().queues()},
          {"memoryBytes", memory_bytes()},
          {"loadAvg", std::vector<double>(load, load + std::max(loads, 0))},
          {"cpuCount", sysconf(_SC_NPROCESSORS_ONLN)}};
}

Json WorkerReport::active() const {
  auto jobs = Json::array();
  for (const auto& job : engine_.held())
    if (job.running && jobs.size() < most_shown) jobs.push_back(shown(job));
  return jobs;
}

Json WorkerReport::ping() const {
  const auto queues = engine_.subscriptions().queues();
  return {{"timestamp", format_time(clock_.wall())},
          {"pid", getpid()},
          {"queue", queues.empty() ? "" : queues.front()},
          {"inflight", engine_.inflight()},
          {"subscriptions", subscriptions()}};
}

Json WorkerReport::subscriptions() const {
  const auto& all = engine_.subscriptions();
  return {{"queues", all.queues()}, {"broadcasts", all.channels()}};
}

Json WorkerReport::stats() const {
  auto json = facts();
  std::map<std::string, int> inflight;
  for (const auto& queue : engine_.subscriptions().queues()) inflight[queue] = 0;
  for (const auto& job : engine_.held()) ++inflight[job.queue];
  json["pool"] = engine_.children() ? "processes" : "threads";
  if (const auto* children = engine_.children()) {
    json["children"] = to_json(children->view());
    json["crashed"] = engine_.counters().crashed.load();
  }
  json["timestamp"] = format_time(clock_.wall());
  json["namespace"] = options_.name_space;
  json["host"] = host_;
  json["subscriptions"] = subscriptions();
  json["queues"] = inflight;
  json["active"] = active();
  return json;
}

Json WorkerReport::inspect(const std::set<std::string>& parts) const {
  const auto wants = [&](const char* part) { return parts.empty() || parts.contains(part); };
  Json json{{"timestamp", format_time(clock_.wall())},
            {"inflight", engine_.inflight()},
            {"pausedQueues", orders_.paused()}};
  if (wants("active")) json["active"] = active();
  if (wants("reserved")) json["reserved"] = reserved();
  if (wants("scheduled")) json["scheduled"] = scheduled();
  if (wants("registered")) json["registered"] = registered();
  if (wants("revoked")) {
    json["revoked"] = revoked();
    json["revokedCount"] = orders_.revocations().size();
  }
  return json;
}

Json WorkerReport::reserved() const {
  auto jobs = Json::array();
  for (const auto& job : engine_.held())
    if (!job.running && jobs.size() < most_shown) jobs.push_back(shown(job));
  return jobs;
}

Json WorkerReport::scheduled() const {
  auto delayed = Json::object();
  const auto queues = engine_.subscriptions().queues();
  for (const auto& depth : storage_.broker->depths())
    if (std::find(queues.begin(), queues.end(), depth.queue) != queues.end())
      delayed[depth.queue] = depth.delayed;
  return delayed;
}

Json WorkerReport::registered() const {
  auto tasks = Json::array();
  for (const auto* task : tasks_.all()) tasks.push_back(task->name);
  return tasks;
}

Json WorkerReport::revoked() const {
  auto jobs = Json::array();
  const auto now = clock_.wall();
  for (const auto& [job, one] : orders_.revocations())
    if (one.holds(now) && jobs.size() < most_shown) jobs.push_back(to_json(one, options_.name_space));
  return jobs;
}

}  // namespace stem
