#include "cli/schedule_watch.hpp"

#include <algorithm>

#include "cli/node_view.hpp"
#include "cli/schedule_view.hpp"
#include "cli/table.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

/// When its next job is published; empty if never.
std::optional<WallTime> due_of(const BookedSchedule& schedule) {
  if (!schedule.error.empty()) return std::nullopt;
  const auto next = next_slot(schedule.entry, schedule.run);
  return next ? std::optional(schedule.entry.due(*next)) : std::nullopt;
}

struct Sums {
  int all = 0, on = 0, failing = 0, overdue = 0;
  std::int64_t misfires = 0;
  Duration drift{};
  std::optional<WallTime> next;
};

Sums sums_of(const ScheduleSample& sample) {
  Sums sums;
  for (const auto& schedule : sample.schedules) {
    const auto due = due_of(schedule);
    ++sums.all;
    sums.on += due.has_value();
    sums.failing += !schedule.error.empty() || !schedule.run.error.empty();
    sums.overdue += due && *due + overdue_after < sample.at;
    sums.misfires += schedule.run.misfires;
    sums.drift = std::max(sums.drift, schedule.run.drift);
    if (due && (!sums.next || *due < *sums.next)) sums.next = due;
  }
  return sums;
}

std::string drift_cell(const ScheduleRun& run) {
  return run.last_run ? format_duration(std::chrono::round<std::chrono::milliseconds>(run.drift)) : "-";
}

std::string leader_line(const ScheduleSample& sample) {
  if (!sample.leader) return "no scheduler leads\n";
  auto line = "leader: " + printable(sample.leader->title);
  if (sample.leader->since) line += ", started " + in_words(*sample.leader->since, sample.at);
  if (sample.leader_is_silent()) line += "; silent for " + human_duration(*sample.silence);
  return line + "\n";
}

}  // namespace

ScheduleSample ScheduleWatch::look(ScheduleBook& book, Store& store) {
  ScheduleSample sample{
      .at = clock_.wall(), .schedules = book.all(), .leader = LeaderLock::holder_in(store), .silence = {}};
  std::vector<std::pair<WallTime, std::size_t>> order;
  for (std::size_t i = 0; i < sample.schedules.size(); ++i)
    order.emplace_back(due_of(sample.schedules[i]).value_or(WallTime::max()), i);
  std::sort(order.begin(), order.end());
  std::vector<BookedSchedule> sorted;
  sorted.reserve(order.size());
  for (const auto& [due, number] : order) sorted.push_back(std::move(sample.schedules[number]));
  sample.schedules = std::move(sorted);

  const auto now = clock_.steady();
  if (sample.leader && sample.leader->version == version_) {
    sample.silence = duration_cast<Duration>(now - since_);
  } else {
    version_ = sample.leader ? sample.leader->version : 0;
    since_ = now;
  }
  return sample;
}

std::string schedule_watch_table(const ScheduleSample& sample) {
  if (sample.schedules.empty()) return "there is no schedule\n" + leader_line(sample);
  Table table({"NAME", "NEXT RUN", "LAST RUN", "DRIFT", "RUNS", "MISFIRES", "STATE", "LAST ERROR"});
  for (const auto& schedule : sample.schedules) {
    const auto due = due_of(schedule);
    const auto& run = schedule.run;
    const auto& error = schedule.error.empty() ? run.error : schedule.error;
    table.add({schedule.name, due ? in_words(*due, sample.at) : "-",
               run.last_run ? in_words(*run.last_run, sample.at) : "-", drift_cell(run),
               std::to_string(run.runs), std::to_string(run.misfires),
               due && *due + overdue_after < sample.at ? "overdue" : state_of(schedule),
               error.empty() ? "-" : printable(error)});
  }
  const auto sums = sums_of(sample);
  auto text = table.text() + "\n" + std::to_string(sums.all) + (sums.all == 1 ? " schedule" : " schedules") +
              ", " + std::to_string(sums.on) + " to come";
  if (sums.next) text += ", the next " + in_words(*sums.next, sample.at);
  text += "; " + std::to_string(sums.overdue) + " overdue, " + std::to_string(sums.failing) +
          " failing; largest drift " +
          format_duration(std::chrono::round<std::chrono::milliseconds>(sums.drift)) + "\n";
  return text + leader_line(sample);
}

Json to_json(const ScheduleSample& sample) {
  const auto sums = sums_of(sample);
  Json leader;
  if (sample.leader)
    leader = {
        {"title", sample.leader->title},
        {"since", sample.leader->since ? Json(format_time(*sample.leader->since)) : Json()},
        {"silentMs",
         sample.silence ? Json(duration_cast<std::chrono::milliseconds>(*sample.silence).count()) : Json()}};
  auto entries = Json::array();
  for (const auto& schedule : sample.schedules) entries.push_back(to_json(schedule));
  return {{"schedules", sums.all},
          {"enabled", sums.on},
          {"failing", sums.failing},
          {"overdue", sums.overdue},
          {"misfires", sums.misfires},
          {"maxDriftMs", static_cast<double>(sums.drift.count()) / 1000},
          {"nextRunAt", sums.next ? Json(format_time(*sums.next)) : Json()},
          {"leader", std::move(leader)},
          {"entries", std::move(entries)}};
}

}  // namespace stem::cli
