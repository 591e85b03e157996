#include "worker/unsettled.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "core/log_scope.hpp"
#include "core/trace_scope.hpp"

namespace stem {
namespace {

using End = TaskTallies::End;

void log_dead(const LeasedJob& job, const DeadLetter& dead) {
  // Not the handler's thread, but of its job: whoever looks for the job in the journal finds this.
  const LogScope scope(job.delivery.id, job.envelope.name, job.delivery.queue, job.delivery.attempt);
  std::optional<TraceScope> traced;
  if (job.trace) traced.emplace(job.trace->consume);
  spdlog::error("went to the dead-letter queue: {}: {}", dead.reason, dead.meta.value("error", ""));
}

}  // namespace

void Unsettled::add(LeasedJob& job, Settlement settlement, SteadyTime now) {
  job.decided = true;
  if (!job.leased) {
    job.settled = true;
    return count_heard(job, settlement.disposition);
  }
  if (empty()) since_ = now;
  settlements_.push_back(std::move(settlement));
  jobs_.push_back(&job);
}

std::size_t Unsettled::begun() const {
  return static_cast<std::size_t>(std::count_if(
      jobs_.begin(), jobs_.end(), [](const auto* job) { return job->unrun == LeasedJob::Unrun::no; }));
}

void Unsettled::write_records(const Storage& storage, Duration lease) {
  std::vector<Receipt> leases;
  for (const auto& settlement : settlements_)
    if (settlement.record) leases.push_back(settlement.receipt);
  if (leases.empty()) return;
  const auto gone = storage.broker->renew(leases, lease);
  const std::set<Receipt> lost(gone.begin(), gone.end());
  std::vector<StoreWrite> records;
  for (const auto& settlement : settlements_)
    if (settlement.record && !lost.contains(settlement.receipt)) records.push_back(*settlement.record);
  if (!records.empty()) storage.results->put(records);
}

void Unsettled::count(const LeasedJob& job, End end) {
  std::atomic<std::uint64_t>* const counts[] = {&counters_.done, &counters_.failed, &counters_.retried,
                                                &counters_.cancelled};
  const auto number = static_cast<std::size_t>(end);
  ++*counts[number];
  tallies_.count(job, end);
  constexpr JobSeries::Count JobSeries::*ends[] = {&JobSeries::succeeded, &JobSeries::failed,
                                                   &JobSeries::retried, &JobSeries::revoked};
  auto& series = series_of(job);
  ++(series.*ends[number]);
  if (const auto took = job.run_time()) series.duration.add(*took);
}

void Unsettled::taken(const std::vector<Receipt>& lost) {
  const std::set<Receipt> refused(lost.begin(), lost.end());
  for (std::size_t i = 0; i < settlements_.size(); ++i) {
    if (refused.contains(settlements_[i].receipt)) {
      ++counters_.lost;
      ++series_.leases_of(jobs_[i]->delivery.queue).lost;
      spdlog::warn("{} ended after its lease was lost to another worker; it may run twice",
                   jobs_[i]->delivery.id);
    } else {
      count(*jobs_[i], settlements_[i].disposition);
    }
  }
  drop();
}

void Unsettled::count(const LeasedJob& job, const Disposition& disposition) {
  if (std::holds_alternative<Ack>(disposition)) {
    count_end(job);
  } else if (std::holds_alternative<RetryAt>(disposition)) {
    count(job, End::retried);
  } else if (std::holds_alternative<Release>(disposition)) {
    if (job.unrun == LeasedJob::Unrun::limited) {
      ++counters_.limited;
      ++series_of(job).limited;
    }
  } else if (const auto* dead = std::get_if<DeadLetter>(&disposition)) {
    count(job, End::failed);
    log_dead(job, *dead);
  }
}

/// Nobody waits for it, and nobody can be given it again: the log is all that is left of a failure.
void Unsettled::count_heard(const LeasedJob& job, const Disposition& disposition) {
  if (std::holds_alternative<Ack>(disposition)) return count(job, disposition);
  const LogScope scope(job.delivery.id, job.envelope.name, job.delivery.queue, job.delivery.attempt);
  if (std::holds_alternative<Release>(disposition)) {
    spdlog::warn("not done here: a job of a broadcast cannot be put back");
    return;
  }
  count(job, End::failed);
  const auto* dead = std::get_if<DeadLetter>(&disposition);
  spdlog::error("failed{}; a job of a broadcast is neither tried again nor kept as a dead letter",
                dead ? ": " + dead->reason + ": " + dead->meta.value("error", "") : "");
}

void Unsettled::count_end(const LeasedJob& job) {
  if (job.revoked) return count(job, End::cancelled);
  if (job.unrun == LeasedJob::Unrun::no) return count(job, End::done);
  if (job.unrun != LeasedJob::Unrun::expired) return;
  ++counters_.expired;
  ++series_of(job).expired;
  tallies_.count(job, End::cancelled);
}

/// Of what no executor has read, or could believe, nobody knows which task it is for.
JobSeries& Unsettled::series_of(const LeasedJob& job) {
  return job.series ? *job.series : series_.of(nullptr, job.delivery.queue);
}

void Unsettled::drop() {
  for (auto* job : jobs_) job->settled = true;
  settlements_.clear();
  jobs_.clear();
}

}  // namespace stem
