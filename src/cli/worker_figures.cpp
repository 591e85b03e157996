#include "cli/worker_figures.hpp"

#include <algorithm>

namespace stem::cli {
namespace {

/// No worker that is not lying has more of anything, and sums of them do not run over.
constexpr std::uint64_t most = std::uint64_t{1} << 50;
constexpr std::size_t most_entries = 1000;

std::uint64_t number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return 0;
  if (!found->is_number_unsigned() && found->get<std::int64_t>() < 0) return 0;
  return std::min(found->get<std::uint64_t>(), most);
}

/// Null where there is none.
const Json& part(const Json& object, const char* key) {
  static const Json none;
  const auto found = object.find(key);
  return found != object.end() ? *found : none;
}

Ends ends_of(const Json& object, const char* done) {
  if (!object.is_object()) return {};
  return {number(object, done), number(object, "failed"), number(object, "retried"),
          number(object, "cancelled")};
}

}  // namespace

Ends Ends::since(const Ends& earlier) const {
  if (done < earlier.done || failed < earlier.failed || retried < earlier.retried ||
      cancelled < earlier.cancelled)
    return *this;
  return {done - earlier.done, failed - earlier.failed, retried - earlier.retried,
          cancelled - earlier.cancelled};
}

void Ends::add(const Ends& others) {
  done += others.done;
  failed += others.failed;
  retried += others.retried;
  cancelled += others.cancelled;
}

WorkerFigures figures_of(const Heartbeat& beat) {
  const auto& facts = beat.facts;
  WorkerFigures figures;
  figures.at = beat.at;
  if (const auto& started = part(facts, "startedAt"); started.is_string())
    figures.started = started.get<std::string>();
  const auto whole = [&](const char* key) { return static_cast<std::int64_t>(number(facts, key)); };
  figures.busy = whole("busy");
  figures.concurrency = whole("concurrency");
  figures.inflight = whole("inflight");
  figures.memory = whole("memoryBytes");
  figures.ends = ends_of(facts, "completed");
  if (const auto& recent = part(facts, "recent"); recent.is_object() && number(recent, "ms") > 0) {
    figures.recent = ends_of(recent, "completed");
    figures.recent_seconds = static_cast<double>(number(recent, "ms")) / 1000;
  }
  if (const auto& paused = part(facts, "pausedQueues"); paused.is_array()) figures.paused = !paused.empty();
  if (const auto& queues = part(facts, "queues"); queues.is_array())
    for (const auto& queue : queues)
      if (queue.is_string() && figures.queues.size() < most_entries)
        figures.queues.push_back(queue.get<std::string>());
  if (const auto& tasks = part(facts, "perTask"); tasks.is_array())
    for (const auto& told : tasks) {
      if (!told.is_object() || figures.tasks.size() >= most_entries) continue;
      const auto& name = part(told, "task");
      if (!name.is_string()) continue;
      figures.tasks[name.get<std::string>()] = {ends_of(told, "done"), RunTimes::from(part(told, "times"))};
    }
  if (const auto& queues = part(facts, "perQueue"); queues.is_object())
    for (const auto& [name, told] : queues.items())
      if (figures.per_queue.size() < most_entries) figures.per_queue[name] = ends_of(told, "done");
  return figures;
}

}  // namespace stem::cli
