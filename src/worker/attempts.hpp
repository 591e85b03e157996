#pragma once

#include <stem/config.hpp>
#include <stem/envelope.hpp>
#include <stem/result.hpp>
#include <stem/signing.hpp>
#include <stem/task.hpp>

#include "core/revocation.hpp"
#include "storage/broker.hpp"

namespace stem {

/// What every attempt of a worker has in common.
struct AttemptRules {
  std::string node;
  int max_deliveries = 20;
  RetryPolicy retry;
  Duration result_ttl{};
};

/// Retries that this job is allowed beyond its first run: what its producer asked for by name (meta
/// `stem.retryPolicy.maxRetries`), else what the task says, else the envelope.
int allowed_retries(const Envelope& envelope, const TaskOptions& options);

/// When a failed attempt is tried again: what the producer asked for, else what the task says, else the
/// worker's own.
RetryPolicy retry_policy(const Envelope& envelope, const TaskOptions& options, const AttemptRules& rules);

/// When the job is too late to begin; empty = never. Throws Error as wishes_of().
std::optional<WallTime> expiry(const Envelope& envelope, const TaskOptions& options);

/// Whether no record of a success is kept.
bool ignores_result(const Envelope& envelope, const TaskOptions& options);

/// When an attempt began and ended, for the record.
struct AttemptTimes {
  std::optional<WallTime> started;
  WallTime ended;
};

/// What becomes of a job whose handler ended with `outcome`: the settlement and the record that goes with it.
/// `random` is uniform in [0, 1), for the jitter of a retry.
Settlement settle_outcome(const Delivery& delivery, const Envelope& envelope, const TaskOptions& options,
                          Outcome outcome, const AttemptTimes& times, const AttemptRules& rules,
                          double random);

/// The same for an attempt that failed: tried again if retries are left, else dead with reason
/// `max-retries-exhausted`. `delay` overrides the retry policy's.
Settlement settle_failure(const Delivery& delivery, const Envelope& envelope, const TaskOptions& options,
                          Failure failure, std::optional<Duration> delay, const AttemptTimes& times,
                          const AttemptRules& rules, double random);

/// For a job that can never run here: malformed, unknown task, handed out too often.
Settlement settle_dead(const Delivery& delivery, const std::string& task, const std::string& reason,
                       Failure failure, const AttemptTimes& times, const AttemptRules& rules);

/// For a job whose signature is not to be believed; neither is anything else that it says.
Settlement settle_forged(const Delivery& delivery, const std::string& task, const SignatureFault& fault,
                         const AttemptTimes& times, const AttemptRules& rules);

/// For a job that was revoked: it is over, and its record says so.
Settlement settle_cancelled(const Delivery& delivery, const std::string& task, const Revocation& revocation,
                            const AttemptTimes& times, const AttemptRules& rules);

/// For a job that was to have begun by `expired`.
Settlement settle_expired(const Delivery& delivery, const std::string& task, WallTime expired,
                          const AttemptTimes& times, const AttemptRules& rules);

/// Keeps the settlement's record for as long as the job asks for, or not at all, if it ignores its result; of
/// those whose record others read (`needed`) in any case.
void shape_record(Settlement& settlement, const Envelope& envelope, const TaskOptions& options, bool needed);

/// The record of a job that is running, with how far it says it is.
StoreWrite progress_record(const Delivery& delivery, const std::string& task, const AttemptTimes& times,
                           double fraction, const std::string& note, const AttemptRules& rules);

/// The key of a job's record in the result backend.
std::string result_key(const std::string& id);

}  // namespace stem
