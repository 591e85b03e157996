#include "worker/held_jobs.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "core/log_scope.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

using Stage = LeasedJob::Stage;

/// What a job that no executor has read is for, or nothing.
std::string task_of(const Delivery& delivery) {
  try {
    return envelope_from_wire(delivery.wire).name;
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

HeldJobs::HeldJobs(const EngineOptions& options, ExecutorShared& shared, const Clock& clock, SignalFd& wake)
    : options_(options),
      shared_(shared),
      clock_(clock),
      unsettled_(shared.counters, shared.series),
      pool_(shared, wake) {}

void HeldJobs::decide(LeasedJob& job, Settlement settlement) {
  unsettled_.add(job, std::move(settlement), clock_.steady());
}

void HeldJobs::release(LeasedJob& job, WallTime due) {
  decide(job, {job.delivery.receipt, Release{due}, std::nullopt});
}

/// Of an attempt that ends without its handler.
void HeldJobs::tell(const LeasedJob& job, const char* state, const Failure& failure) const {
  if (job.trace)
    end_job_trace(shared_.tracer, job, options_.rules, options_.name_space, state, failure, clock_.wall());
}

/// Settles a job that was revoked.
void HeldJobs::end_revoked(LeasedJob& job) {
  const bool begun = job.stage != Stage::given_back;
  if (!begun) job.canvas = read_canvas_part(job.delivery, options_.signer);
  const auto task = begun ? job.envelope.name : task_of(job.delivery);
  if (!begun) job.series = &shared_.series.of(shared_.tasks.find(task), job.delivery.queue);
  const LogScope scope(job.delivery.id, task, job.delivery.queue, job.delivery.attempt);
  spdlog::info("cancelled: revoked{}{}",
               job.revoked->requester.empty() ? "" : " by " + printable(job.revoked->requester),
               job.revoked->reason.empty() ? "" : ": " + printable(job.revoked->reason));
  decide(job, settle_cancelled(job.delivery, task, *job.revoked,
                               {begun ? std::optional(job.started_at) : std::nullopt, clock_.wall()},
                               options_.rules));
}

/// A job that has been handed out often without an end may be what ends its workers. One at a time is taken,
/// so that it goes to the dead-letter queue alone, and not its neighbours with it.
bool HeldJobs::is_suspect(const Delivery& delivery) const {
  return options_.rules.max_deliveries > 0 && delivery.deliveries > options_.rules.max_deliveries / 2;
}

void HeldJobs::take(std::vector<Delivery> deliveries, bool leased, const Revoked& revoked) {
  const auto now = clock_.steady();
  if (jobs_.empty()) last_collected_ = now;
  bool suspected = std::any_of(jobs_.begin(), jobs_.end(),
                               [&](const auto& job) { return !job->decided && is_suspect(job->delivery); });
  std::vector<LeasedJob*> fresh;
  fresh.reserve(deliveries.size());
  for (auto& delivery : deliveries) {
    const bool suspect = is_suspect(delivery);
    jobs_.push_back(std::make_unique<LeasedJob>(std::move(delivery), leased));
    auto& job = *jobs_.back();
    job.renewed_at = now;
    if (const auto* order = revoked(job.delivery.id)) {
      job.give_back();
      job.revoked = std::make_unique<Revocation>(*order);
      end_revoked(job);
      continue;
    }
    if (suspect && suspected) {
      job.give_back();
      release(job, clock_.wall() + std::chrono::seconds{1});
    } else {
      fresh.push_back(&job);
    }
    suspected = suspected || suspect;
  }
  pool_.put(fresh);
}

bool HeldJobs::collect() {
  const auto returned = pool_.collect();
  if (returned.empty()) return false;
  last_collected_ = clock_.steady();
  for (LeasedJob* job : returned) {
    job->returned = true;
    if (job->stage == Stage::abandoned) {
      --shared_.counters.stuck;
    } else if (!job->decided && job->revoked) {
      end_revoked(*job);
    } else if (!job->decided) {
      decide(*job, std::move(*job->settlement));
    }
  }
  return true;
}

bool HeldJobs::put_back(std::size_t keep) {
  const auto out = pool_.take_out(
      [&, kept = std::size_t{0}](const LeasedJob& job) mutable { return job.leased && ++kept > keep; });
  for (auto* job : out) release(*job, clock_.wall());
  return !out.empty();
}

void HeldJobs::clear() {
  for (auto* job : pool_.take_out([](const LeasedJob&) { return true; })) release(*job, clock_.wall());
}

void HeldJobs::put_back(const std::vector<std::string>& queues) {
  const auto goes = [&](const LeasedJob& job) {
    return job.leased && std::find(queues.begin(), queues.end(), job.delivery.queue) != queues.end();
  };
  for (auto* job : pool_.take_out(goes)) release(*job, clock_.wall());
}

void HeldJobs::abandon() {
  for (auto& job : jobs_) {
    if (job->decided || !job->advance(Stage::running, Stage::abandoned)) continue;
    ++shared_.counters.stuck;
    tell(*job, "put-back", {"stopped", "put back: the worker was stopped"});
    release(*job, clock_.wall());
  }
}

bool HeldJobs::expire() {
  if (shared_.children) return false;  // there, the executor ends the process
  bool any = false;
  const auto now = clock_.steady();
  for (auto& job : jobs_) {
    if (job->stage != Stage::running || job->decided || !job->hard_deadline || now < *job->hard_deadline)
      continue;
    if (!job->advance(Stage::running, Stage::abandoned)) continue;
    any = true;
    ++shared_.counters.stuck;
    job->cancelled = true;
    const auto limit = duration_cast<Duration>(*job->hard_deadline - job->started);
    const LogScope scope(job->delivery.id, job->envelope.name, job->delivery.queue, job->delivery.attempt);
    spdlog::error(
        "ran past its hard time limit of {}; its handler cannot be stopped and holds one of {} executors",
        format_duration(limit), options_.concurrency);
    if (job->revoked) {
      tell(*job, "cancelled", {"hard-time-limit", "revoked, and ran past its hard time limit"});
      end_revoked(*job);
      continue;
    }
    const Failure failure{"hard-time-limit", "ran past its hard time limit of " + format_duration(limit)};
    auto settlement = settle_failure(job->delivery, job->envelope, job->task->options, failure, std::nullopt,
                                     {job->started_at, clock_.wall()}, options_.rules, 0.5);
    tell(*job, std::holds_alternative<RetryAt>(settlement.disposition) ? "retried" : "failed", failure);
    shape_record(settlement, job->envelope, job->task->options, job->canvas != nullptr);
    decide(*job, std::move(settlement));
  }
  return any;
}

bool HeldJobs::revoke(const Revocation& order) {
  const auto goes = [&](const LeasedJob& job) { return job.delivery.id == order.job && !job.decided; };
  for (auto* job : pool_.take_out(goes)) {
    job->revoked = std::make_unique<Revocation>(order);
    end_revoked(*job);
  }
  bool runs = false;
  for (auto& job : jobs_) {
    if (job->delivery.id != order.job || job->decided) continue;
    runs = true;
    if (!order.terminate) continue;
    job->revoked = std::make_unique<Revocation>(order);
    job->called_off = true;
    job->cancelled = true;
  }
  return runs;
}

void HeldJobs::lose(std::span<const Receipt> lost) {
  // By lease, not by job: this process may hold the same job twice, once in vain.
  const std::set<Receipt> gone(lost.begin(), lost.end());
  for (auto& job : jobs_) {
    if (job->decided || !gone.contains(job->delivery.receipt)) continue;
    job->cancelled = true;
    if (job->advance(Stage::queued, Stage::given_back) || job->advance(Stage::running, Stage::abandoned)) {
      if (job->stage == Stage::abandoned) {
        ++shared_.counters.stuck;
        tell(*job, "lost", {"lease-lost", "its lease was lost to another worker"});
      }
      job->decided = job->settled = true;
      ++shared_.counters.lost;
      ++shared_.series.leases_of(job->delivery.queue).lost;
      spdlog::warn("the lease of {} was lost to another worker; raise STEM_VISIBILITY_TIMEOUT if this recurs",
                   job->delivery.id);
    }
  }
}

void HeldJobs::give_up() {
  unsettled_.drop();
  for (auto& job : jobs_) job->settled = true;
}

void HeldJobs::forget() {
  std::erase_if(jobs_, [](const auto& job) { return job->settled && job->returned; });
}

std::vector<HeldJob> HeldJobs::view() const {
  std::vector<HeldJob> held;
  for (const auto& job : jobs_) {
    if (job->decided) continue;
    HeldJob one{
        .id = job->delivery.id, .task = {}, .queue = job->delivery.queue, .attempt = job->delivery.attempt};
    if (job->stage == Stage::queued) {
      one.task = task_of(job->delivery);
    } else {
      one.task = job->envelope.name;
      one.running = true;
      one.cancelled = job->cancelled;
      one.started_at = job->started_at;
      one.child = job->child;
      one.runtime = duration_cast<Duration>(clock_.steady() - job->started);
    }
    held.push_back(std::move(one));
  }
  return held;
}

std::size_t HeldJobs::undecided() const {
  return static_cast<std::size_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return !job->decided; }));
}

bool HeldJobs::all_settled() const {
  return std::all_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->settled; });
}

std::optional<SteadyTime> HeldJobs::next_deadline() const {
  std::optional<SteadyTime> first;
  if (shared_.children) return first;
  for (const auto& job : jobs_)
    if (job->stage == Stage::running && !job->decided && job->hard_deadline &&
        (!first || *job->hard_deadline < *first))
      first = job->hard_deadline;
  return first;
}

}  // namespace stem
