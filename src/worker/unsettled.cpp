#include "worker/unsettled.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "core/log_scope.hpp"

namespace stem {
namespace {

void log_dead(const LeasedJob& job, const DeadLetter& dead) {
  // Not the handler's thread, but of its job: whoever looks for the job in the journal finds this.
  const LogScope scope(job.delivery.id, job.envelope.name, job.delivery.queue, job.delivery.attempt);
  spdlog::error("went to the dead-letter queue: {}: {}", dead.reason, dead.meta.value("error", ""));
}

}  // namespace

void Unsettled::add(LeasedJob& job, Settlement settlement, SteadyTime now) {
  if (empty()) since_ = now;
  job.decided = true;
  settlements_.push_back(std::move(settlement));
  jobs_.push_back(&job);
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

void Unsettled::taken(const std::vector<Receipt>& lost) {
  const std::set<Receipt> refused(lost.begin(), lost.end());
  for (std::size_t i = 0; i < settlements_.size(); ++i) {
    const auto& disposition = settlements_[i].disposition;
    if (refused.contains(settlements_[i].receipt)) {
      ++counters_.lost;
      spdlog::warn("{} ended after its lease was lost to another worker; it may run twice",
                   jobs_[i]->delivery.id);
    } else if (std::holds_alternative<Ack>(disposition)) {
      ++(jobs_[i]->revoked ? counters_.cancelled : counters_.done);
    } else if (std::holds_alternative<RetryAt>(disposition)) {
      ++counters_.retried;
    } else if (const auto* dead = std::get_if<DeadLetter>(&disposition)) {
      ++counters_.failed;
      log_dead(*jobs_[i], *dead);
    }
  }
  drop();
}

void Unsettled::drop() {
  for (auto* job : jobs_) job->settled = true;
  settlements_.clear();
  jobs_.clear();
}

}  // namespace stem
