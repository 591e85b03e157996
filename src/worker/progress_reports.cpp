#include "worker/progress_reports.hpp"

#include <stem/error.hpp>

namespace stem {
namespace {

/// A record that cannot be read is overwritten.
bool is_final_record(const std::string& wire) {
  try {
    return is_final(result_from_wire(wire).state);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void ProgressReports::write() {
  for (const auto& job : held_.all()) {
    if (job->stage != LeasedJob::Stage::running || !job->leased) continue;
    std::optional<std::pair<double, std::string>> progress;
    {
      const std::lock_guard lock(job->progress_mutex);
      progress.swap(job->progress);
    }
    if (!progress || ask_([&] { write(*job, progress->first, progress->second); })) continue;
    const std::lock_guard lock(job->progress_mutex);
    if (!job->progress) job->progress = std::move(progress);
  }
}

/// Only over a record that is not final: another worker may have taken the job over and ended it.
void ProgressReports::write(const LeasedJob& job, double share, const std::string& note) {
  const auto before = results_.get(result_key(job.delivery.id));
  if (before && is_final_record(before->value)) return;
  results_.compare_and_set(
      progress_record(job.delivery, job.envelope.name, {job.started_at, clock_.wall()}, share, note, rules_),
      before ? before->version : 0);
}

}  // namespace stem
