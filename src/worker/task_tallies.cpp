#include "worker/task_tallies.hpp"

#include <algorithm>
#include <vector>

namespace stem {
Json TaskTallies::Ends::json() const {
  return {{"done", of[0]}, {"failed", of[1]}, {"retried", of[2]}, {"cancelled", of[3]}};
}

void TaskTallies::count(const LeasedJob& job, End end) {
  const auto number = static_cast<std::size_t>(end);
  if (job.leased) {
    if (!last_queue_ || last_queue_->first != job.delivery.queue)
      last_queue_ = &*queues_.try_emplace(job.delivery.queue).first;
    ++last_queue_->second.of[number];
  }

  const bool begun = job.stage == LeasedJob::Stage::finished || job.stage == LeasedJob::Stage::abandoned;
  if (!begun || job.task == nullptr) return;
  auto& tally = tasks_[job.task];
  ++tally.ends.of[number];
  if (const auto took = job.run_time()) {
    tally.took += *took;
    tally.times.add(*took);
  }
}

Json TaskTallies::tasks() const {
  std::vector<const decltype(tasks_)::value_type*> all;
  for (const auto& one : tasks_) all.push_back(&one);
  std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) {
    const auto first = a->second.ends.all(), second = b->second.ends.all();
    return first != second ? first > second : a->first->name < b->first->name;
  });
  if (all.size() > most_told) all.resize(most_told);
  auto list = Json::array();
  for (const auto* one : all) {
    auto told = one->second.ends.json();
    told["task"] = one->first->name;
    told["tookMs"] = static_cast<double>(one->second.took.count()) / 1000;
    told["times"] = one->second.times.json();
    list.push_back(std::move(told));
  }
  return list;
}

Json TaskTallies::queues() const {
  auto object = Json::object();
  for (const auto& [queue, ends] : queues_) object[queue] = ends.json();
  return object;
}

}  // namespace stem
