#include "cli/dead_groups.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "cli/dead_letters.hpp"
#include "cli/schedule_view.hpp"
#include "cli/table.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

using Part = std::string DeadGroup::*;

void add(DeadGroup& to, std::size_t count, WallTime oldest, WallTime newest) {
  to.oldest = to.count == 0 ? oldest : std::min(to.oldest, oldest);
  to.newest = to.count == 0 ? newest : std::max(to.newest, newest);
  to.count += count;
}

DeadGroup sum(const std::vector<DeadGroup>& groups) {
  DeadGroup all;
  for (const auto& group : groups) add(all, group.count, group.oldest, group.newest);
  return all;
}

Json times_json(const DeadGroup& group) {
  const auto time = [&](WallTime at) { return group.count > 0 ? Json(format_time(at)) : Json(); };
  return {{"dead", group.count}, {"oldest", time(group.oldest)}, {"newest", time(group.newest)}};
}

Json sums_json(const std::vector<DeadGroup>& groups, Part part, const char* key) {
  std::map<std::string, DeadGroup> sums;
  for (const auto& group : groups) add(sums[group.*part], group.count, group.oldest, group.newest);
  auto list = Json::array();
  for (const auto& [name, group] : sums) {
    auto one = times_json(group);
    one[key] = name;
    list.push_back(std::move(one));
  }
  return list;
}

std::size_t kinds(const std::vector<DeadGroup>& groups, Part part) {
  std::map<std::string, int> names;
  for (const auto& group : groups) ++names[group.*part];
  return names.size();
}

std::string counted(std::size_t count, const char* one) {
  return std::to_string(count) + " " + one + (count == 1 ? "" : "s");
}

}  // namespace

std::vector<DeadGroup> dead_groups(const std::vector<DeadJob>& jobs) {
  std::map<std::tuple<std::string, std::string, std::string>, DeadGroup> all;
  for (const auto& job : jobs) {
    auto& group = all[{job.queue, task_of(job), job.reason}];
    add(group, 1, job.dead_at, job.dead_at);
  }
  std::vector<DeadGroup> groups;
  for (auto& [key, group] : all) {
    std::tie(group.queue, group.task, group.reason) = key;
    groups.push_back(std::move(group));
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.count > b.count; });
  return groups;
}

std::string dead_group_table(const std::vector<DeadGroup>& groups, WallTime now) {
  if (groups.empty()) return "no dead letter matches\n";
  Table table({"QUEUE", "TASK", "REASON", "DEAD", "OLDEST", "NEWEST"});
  for (const auto& group : groups)
    table.add({printable(group.queue), printable(group.task), printable(group.reason),
               std::to_string(group.count), in_words(group.oldest, now), in_words(group.newest, now)});
  return table.text() + "\n" + counted(sum(groups).count, "dead letter") + " of " +
         counted(kinds(groups, &DeadGroup::queue), "queue") + ", " +
         counted(kinds(groups, &DeadGroup::task), "task") + ", " +
         counted(kinds(groups, &DeadGroup::reason), "reason") + "; `stem dlq list` shows them\n";
}

Json to_json(const std::vector<DeadGroup>& groups) {
  auto object = times_json(sum(groups));
  object["queues"] = sums_json(groups, &DeadGroup::queue, "queue");
  object["tasks"] = sums_json(groups, &DeadGroup::task, "task");
  object["reasons"] = sums_json(groups, &DeadGroup::reason, "reason");
  auto& list = object["groups"] = Json::array();
  for (const auto& group : groups) {
    auto one = times_json(group);
    one["queue"] = group.queue;
    one["task"] = group.task;
    one["reason"] = group.reason;
    list.push_back(std::move(one));
  }
  return object;
}

}  // namespace stem::cli
