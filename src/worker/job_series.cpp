#include "worker/job_series.hpp"

#include "core/name.hpp"

namespace stem {
namespace {

using Type = MetricFamily::Type;

constexpr const char* other = "other";
constexpr const char* unknown = "unknown";

struct CountFamily {
  const char* name;
  const char* help;
  JobSeries::Count JobSeries::*count;
};

constexpr CountFamily counts[] = {
    {"stem.tasks.started", "Attempts whose handler was called.", &JobSeries::started},
    {"stem.tasks.succeeded", "Jobs whose handler succeeded.", &JobSeries::succeeded},
    {"stem.tasks.failed", "Jobs that failed for good and went to the dead-letter queue.", &JobSeries::failed},
    {"stem.tasks.retried", "Attempts that failed and will be tried again.", &JobSeries::retried},
    {"stem.tasks.revoked", "Jobs that ended because they were revoked.", &JobSeries::revoked},
    {"stem.tasks.expired", "Jobs that were not run because they were too late to begin.",
     &JobSeries::expired},
    {"stem.tasks.rate_limited", "Times that a job went back to its queue because of its task's rate limit.",
     &JobSeries::limited},
    {"stem.tasks.signature_invalid",
     "Jobs that were refused because they were unsigned or not rightly signed.", &JobSeries::forged},
};

struct HistogramFamily {
  const char* name;
  const char* help;
  Histogram JobSeries::*histogram;
};

constexpr HistogramFamily histograms[] = {
    {"stem.task.duration", "How long handlers ran.", &JobSeries::duration},
    {"stem.task.wait", "From when a job was due to the start of its handler, first attempts only.",
     &JobSeries::wait},
};

/// The entry of that key, or the one of `rest` where there are `most` already.
template <class Map, class Key>
auto& entry_of(Map& map, const Key& key, const Key& rest, std::size_t most) {
  const auto found = map.find(key);
  if (found != map.end()) return found->second;
  return map.try_emplace(map.size() < most ? key : rest).first->second;
}

template <class Map, class Key>
auto& series_of(Map& map, const Key& key, const Key& rest, std::size_t most) {
  auto& series = entry_of(map, key, rest, most);
  if (!series) series = std::make_unique<typename std::remove_reference_t<decltype(*series)>>();
  return *series;
}

}  // namespace

JobSeriesBook::JobSeriesBook() = default;
JobSeriesBook::~JobSeriesBook() = default;

JobSeries& JobSeriesBook::of(const Registry::Task* task, const std::string& queue) {
  const std::lock_guard lock(mutex_);
  return series_of(jobs_, Pair{task ? task->name : unknown, queue}, Pair{other, other}, most);
}

LeaseSeries& JobSeriesBook::leases_of(const std::string& queue) {
  const std::lock_guard lock(mutex_);
  return series_of(leases_, queue, std::string(other), most);
}

void JobSeriesBook::count_chord(const std::string& callback) {
  const std::lock_guard lock(mutex_);
  ++entry_of(chords_, is_name(callback) ? callback : std::string(unknown), std::string(other),
             most_callbacks);
}

void JobSeriesBook::measure(MetricSnapshot& snapshot) const {
  const std::lock_guard lock(mutex_);
  for (const auto& family : counts) {
    auto& points = snapshot.family(family.name, Type::counter, "", family.help).points;
    for (const auto& [pair, series] : jobs_)
      points.push_back({{{"task", pair.first}, {"queue", pair.second}},
                        static_cast<double>(((*series).*family.count).load()),
                        {}});
  }
  for (const auto& family : histograms) {
    auto& points = snapshot.family(family.name, Type::histogram, "s", family.help).points;
    for (const auto& [pair, series] : jobs_)
      points.push_back(
          {{{"task", pair.first}, {"queue", pair.second}}, 0, ((*series).*family.histogram).spread()});
  }
  for (const auto& [queue, series] : leases_) {
    snapshot.counter("stem.lease.renewed", "Leases that this worker renewed while it held the job.",
                     {{"queue", queue}}, series->renewed);
    snapshot.counter("stem.lease.expired", "Leases that this worker lost to another.", {{"queue", queue}},
                     series->lost);
  }
  for (const auto& [callback, count] : chords_)
    snapshot.counter("stem.chords.dispatched", "Chords whose callback was enqueued.",
                     {{"callback", callback}}, count);
}

}  // namespace stem
