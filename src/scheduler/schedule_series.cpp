#include "scheduler/schedule_series.hpp"

namespace stem {
namespace {

using Type = MetricFamily::Type;

constexpr const char* other = "other";

struct CountFamily {
  const char* name;
  const char* help;
  ScheduleSeries::Count ScheduleSeries::*count;
};

constexpr CountFamily counts[] = {
    {"stem.scheduler.dispatch.attempts", "Jobs for slots of the schedule, published or not.",
     &ScheduleSeries::attempts},
    {"stem.scheduler.dispatch.success", "Jobs of the schedule that were published.",
     &ScheduleSeries::published},
    {"stem.scheduler.dispatch.failed",
     "Jobs of the schedule that could not be made; their slots are given up.", &ScheduleSeries::failed},
};

struct HistogramFamily {
  const char* name;
  const char* help;
  Histogram ScheduleSeries::*histogram;
};

constexpr HistogramFamily histograms[] = {
    {"stem.scheduler.dispatch.duration",
     "How long it took to publish what was due, the schedule's jobs among it.", &ScheduleSeries::duration},
    {"stem.scheduler.drift", "How long after its due time a job of the schedule was published.",
     &ScheduleSeries::drift},
};

}  // namespace

ScheduleSeries& ScheduleSeriesBook::of(const std::string& schedule) {
  const std::lock_guard lock(mutex_);
  auto found = schedules_.find(schedule);
  if (found == schedules_.end())
    found = schedules_.try_emplace(schedules_.size() < most ? schedule : other).first;
  if (!found->second) found->second = std::make_unique<ScheduleSeries>();
  return *found->second;
}

void ScheduleSeriesBook::measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels) const {
  snapshot.gauge("stem.scheduler.due.entries", "", "Schedules that were due at the last look.", labels,
                 static_cast<double>(due));
  snapshot.gauge("stem.scheduler.overdue.entries", "",
                 "Schedules that were overdue, by more than 10 s, at the last look.", labels,
                 static_cast<double>(overdue));
  snapshot
      .family("stem.scheduler.overdue.lag", Type::histogram, "s",
              "How late overdue schedules were when they ran.")
      .points.push_back({labels, 0, overdue_lag.spread()});
  snapshot.counter("stem.scheduler.lock.acquired", "Times that this scheduler began to lead.", labels,
                   locks_acquired);
  snapshot.counter("stem.scheduler.lock.contended", "Times that this scheduler looked and another led.",
                   labels, locks_contended);
  snapshot.counter("stem.scheduler.lock.renew_failed", "Times that this scheduler lost the lead.", labels,
                   renewals_failed);
  snapshot.counter("stem.scheduler.commit_failed", "Commits of due jobs that failed and are tried again.",
                   labels, commits_failed);

  const std::lock_guard lock(mutex_);
  for (const auto& family : counts) {
    auto& points = snapshot.family(family.name, Type::counter, "", family.help).points;
    for (const auto& [schedule, series] : schedules_)
      points.push_back({{{"schedule", schedule}}, static_cast<double>(((*series).*family.count).load()), {}});
  }
  for (const auto& family : histograms) {
    auto& points = snapshot.family(family.name, Type::histogram, "s", family.help).points;
    for (const auto& [schedule, series] : schedules_)
      points.push_back({{{"schedule", schedule}}, 0, ((*series).*family.histogram).spread()});
  }
}

}  // namespace stem
