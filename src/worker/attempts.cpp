#include "worker/attempts.hpp"

#include <algorithm>

#include "core/json_text.hpp"
#include "core/wishes.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

/// No sum of it and an instant overflows.
constexpr Duration longest_delay = std::chrono::days{36500};

/// The record's `meta`, up to what differs from case to case.
JsonText base_meta(const Delivery& delivery, const std::string& task, const AttemptTimes& times,
                   const AttemptRules& rules) {
  JsonText meta;
  meta.text("task", task).text("queue", delivery.queue).text("worker", rules.node);
  if (times.started) meta.text("startedAt", format_time(*times.started));
  return meta;
}

StoreWrite record(const Delivery& delivery, TaskState state, Json value, std::optional<Failure> failure,
                  JsonText meta, const AttemptRules& rules) {
  return {result_key(delivery.id),
          to_wire(Result{delivery.id, state, std::move(value), std::move(failure), delivery.attempt, nullptr},
                  std::move(meta).finish()),
          rules.result_ttl};
}

}  // namespace

std::string result_key(const std::string& id) {
  return "result:" + id;
}

int allowed_retries(const Envelope& envelope, const TaskOptions& options) {
  if (const auto asked = wishes_of(envelope).max_retries) return *asked;
  return options.max_retries.value_or(envelope.max_retries);
}

RetryPolicy retry_policy(const Envelope& envelope, const TaskOptions& options, const AttemptRules& rules) {
  if (const auto asked = wishes_of(envelope).retry) return *asked;
  return options.retry.value_or(rules.retry);
}

std::optional<WallTime> expiry(const Envelope& envelope, const TaskOptions& options) {
  if (const auto asked = wishes_of(envelope).expires) return asked;
  // An envelope that does not say when it was made has no age.
  if (!options.expires || envelope.enqueued_at == WallTime{}) return std::nullopt;
  return std::max(envelope.enqueued_at, envelope.not_before.value_or(WallTime{})) + *options.expires;
}

bool ignores_result(const Envelope& envelope, const TaskOptions& options) {
  return options.ignore_result || wishes_of(envelope).ignore_result;
}

Settlement settle_dead(const Delivery& delivery, const std::string& task, const std::string& reason,
                       Failure failure, const AttemptTimes& times, const AttemptRules& rules) {
  auto meta = base_meta(delivery, task, times, rules);
  meta.text("failedAt", format_time(times.ended));
  meta.text("deadReason", reason);
  Json dead_meta{
      {"error", failure.message}, {"errorType", failure.type}, {"task", task}, {"worker", rules.node}};
  failure.retryable = false;
  return {delivery.receipt, DeadLetter{reason, std::move(dead_meta)},
          record(delivery, TaskState::failed, nullptr, std::move(failure), std::move(meta), rules)};
}

Settlement settle_forged(const Delivery& delivery, const std::string& task, const SignatureFault& fault,
                         const AttemptTimes& times, const AttemptRules& rules) {
  constexpr auto reason = "signature-invalid";
  auto meta = base_meta(delivery, task, times, rules);
  meta.text("failedAt", format_time(times.ended));
  meta.text("deadReason", reason).text("security", reason);
  Json dead_meta{{"error", fault.reason},
                 {"errorType", reason},
                 {"keyId", fault.key.empty() ? Json() : Json(fault.key)},
                 {"task", task},
                 {"worker", rules.node}};
  return {delivery.receipt, DeadLetter{reason, std::move(dead_meta)},
          record(delivery, TaskState::failed, nullptr, Failure{reason, fault.reason, false}, std::move(meta),
                 rules)};
}

Settlement settle_cancelled(const Delivery& delivery, const std::string& task, const Revocation& revocation,
                            const AttemptTimes& times, const AttemptRules& rules) {
  auto meta = base_meta(delivery, task, times, rules);
  meta.boolean("revoked", true);
  if (!revocation.reason.empty()) meta.text("revokedReason", revocation.reason);
  if (!revocation.requester.empty()) meta.text("revokedBy", revocation.requester);
  meta.text("revokedAt", format_time(revocation.issued)).text("cancelledAt", format_time(times.ended));
  return {delivery.receipt, Ack{},
          record(delivery, TaskState::cancelled, nullptr, std::nullopt, std::move(meta), rules)};
}

Settlement settle_failure(const Delivery& delivery, const Envelope& envelope, const TaskOptions& options,
                          Failure failure, std::optional<Duration> delay, const AttemptTimes& times,
                          const AttemptRules& rules, double random) {
  if (delivery.attempt >= allowed_retries(envelope, options))
    return settle_dead(delivery, envelope.name, "max-retries-exhausted", std::move(failure), times, rules);

  const auto wait = delay ? std::clamp(*delay, Duration::zero(), longest_delay)
                          : retry_policy(envelope, options, rules).delay(delivery.attempt, random);
  auto meta = base_meta(delivery, envelope.name, times, rules);
  meta.text("failedAt", format_time(times.ended));
  meta.number("retryDelayMs", duration_cast<milliseconds>(wait).count());
  return {delivery.receipt, RetryAt{times.ended + wait},
          record(delivery, TaskState::retried, nullptr, std::move(failure), std::move(meta), rules)};
}

Settlement settle_outcome(const Delivery& delivery, const Envelope& envelope, const TaskOptions& options,
                          Outcome outcome, const AttemptTimes& times, const AttemptRules& rules,
                          double random) {
  if (auto* done = std::get_if<Done>(&outcome)) {
    auto meta = base_meta(delivery, envelope.name, times, rules);
    meta.text("completedAt", format_time(times.ended));
    return {
        delivery.receipt, Ack{},
        record(delivery, TaskState::succeeded, std::move(done->value), std::nullopt, std::move(meta), rules)};
  }
  if (auto* retry = std::get_if<Retry>(&outcome))
    return settle_failure(delivery, envelope, options, Failure{"retry", std::move(retry->reason)},
                          retry->delay, times, rules, random);
  if (auto* dead = std::get_if<Dead>(&outcome))
    return settle_dead(delivery, envelope.name, "discarded", Failure{"dead", std::move(dead->reason), false},
                       times, rules);
  // At the least a moment later, behind the others: a job that nobody wants now must not spin at the head of
  // its queue.
  const auto delay = std::clamp<Duration>(std::get<PutBack>(outcome).delay, milliseconds{100}, longest_delay);
  return {delivery.receipt, Release{times.ended + delay}, std::nullopt};
}

Settlement settle_expired(const Delivery& delivery, const std::string& task, WallTime expired,
                          const AttemptTimes& times, const AttemptRules& rules) {
  auto meta = base_meta(delivery, task, times, rules);
  meta.boolean("stem.expired", true);
  meta.text("expiredAt", format_time(expired)).text("cancelledAt", format_time(times.ended));
  return {delivery.receipt, Ack{},
          record(delivery, TaskState::cancelled, nullptr,
                 Failure{"TaskExpired", "it was to begin by " + format_time(expired), false}, std::move(meta),
                 rules)};
}

void shape_record(Settlement& settlement, const Envelope& envelope, const TaskOptions& options, bool needed) {
  if (!settlement.record) return;
  const auto wishes = wishes_of(envelope);
  if (const auto& ttl = wishes.result_ttl ? wishes.result_ttl : options.result_ttl; ttl && *ttl > Duration{})
    settlement.record->ttl = *ttl;
  // A job that was retried must not leave a record behind that says so after its success.
  const bool dead = std::holds_alternative<DeadLetter>(settlement.disposition);
  if (!needed && !dead && (options.ignore_result || wishes.ignore_result)) settlement.record.reset();
}

StoreWrite progress_record(const Delivery& delivery, const std::string& task, const AttemptTimes& times,
                           double fraction, const std::string& note, const AttemptRules& rules) {
  auto meta = base_meta(delivery, task, times, rules);
  meta.fraction("progress", fraction);
  meta.text("progressAt", format_time(times.ended));
  if (!note.empty()) meta.text("progressNote", note);
  return record(delivery, TaskState::running, nullptr, std::nullopt, std::move(meta), rules);
}

}  // namespace stem
