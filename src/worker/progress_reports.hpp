#pragma once

#include <functional>

#include "storage/store.hpp"
#include "worker/attempts.hpp"
#include "worker/held_jobs.hpp"

namespace stem {

/// What handlers say of how far they are, written into the records of their jobs. For the broker thread.
class ProgressReports {
 public:
  /// One conversation with the broker; false if it failed.
  using Ask = std::function<bool(const std::function<void()>&)>;

  /// All of them outlive it.
  ProgressReports(Store& results, HeldJobs& held, const AttemptRules& rules, const Clock& clock, Ask ask)
      : results_(results), held_(held), rules_(rules), clock_(clock), ask_(std::move(ask)) {}

  /// The last report of each job that has made one; what cannot be written now is kept for the next time.
  void write();

 private:
  void write(const LeasedJob& job, double share, const std::string& note);

  Store& results_;
  HeldJobs& held_;
  const AttemptRules& rules_;
  const Clock& clock_;
  const Ask ask_;
};

}  // namespace stem
