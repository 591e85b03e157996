#pragma once

#include <functional>
#include <vector>

#include "storage/broker.hpp"
#include "worker/held_jobs.hpp"
#include "worker/job_series.hpp"

namespace stem {

/// Renews every lease of this worker well before it ends, and at once those for which a handler asked. For
/// the broker thread.
class LeaseRenewal {
 public:
  /// One conversation with the broker; false if it failed.
  using Ask = std::function<bool(const std::function<void()>&)>;

  /// All of them outlive it.
  LeaseRenewal(Broker& broker, HeldJobs& held, JobSeriesBook& series, const Clock& clock, Duration lease,
               Ask ask)
      : broker_(broker), held_(held), series_(series), clock_(clock), lease_(lease), ask_(std::move(ask)) {}

  /// The first job is leased: nothing is due before a third of its lease is over.
  void begin() { next_ = clock_.steady() + lease_ / 3; }
  /// When all leases are due. After that, some may have ended.
  SteadyTime next() const { return next_; }

  /// Renews what is due or asked for. Jobs that turn out to be lost are HeldJobs::lose()'s.
  void turn();

 private:
  void renew_all(std::vector<Receipt>& lost);
  void renew_asked(std::vector<Receipt>& lost);
  void count(const std::vector<Receipt>& lost);

  Broker& broker_;
  HeldJobs& held_;
  JobSeriesBook& series_;
  const Clock& clock_;
  const Duration lease_;
  const Ask ask_;
  SteadyTime next_{};
};

}  // namespace stem
