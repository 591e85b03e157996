#include "worker/executor.hpp"

#include <spdlog/spdlog.h>

#include <memory>
#include <stem/error.hpp>

#include "core/log_scope.hpp"
#include "core/name.hpp"
#include "core/signing_text.hpp"
#include "core/trace_scope.hpp"
#include "core/wishes.hpp"
#include "worker/handler_failure.hpp"
#include "worker/job_context.hpp"

namespace stem {
namespace {

std::optional<Duration> limit(const std::optional<Duration>& own, Duration fallback) {
  const auto length = own.value_or(fallback);
  return length > Duration::zero() ? std::optional(length) : std::nullopt;
}

/// What a span says of an outcome that is not what was hoped for.
std::optional<Failure> failure_of(const Outcome& outcome) {
  if (const auto* retry = std::get_if<Retry>(&outcome)) return Failure{"retry", retry->reason};
  if (const auto* dead = std::get_if<Dead>(&outcome)) return Failure{"dead", dead->reason, false};
  return std::nullopt;
}

const char* state_of(const Disposition& disposition, LeasedJob::Unrun unrun) {
  if (unrun == LeasedJob::Unrun::expired) return "cancelled";
  if (std::holds_alternative<RetryAt>(disposition)) return "retried";
  if (std::holds_alternative<DeadLetter>(disposition)) return "failed";
  return std::holds_alternative<Release>(disposition) ? "put-back" : "succeeded";
}

}  // namespace

Executor::Executor(ExecutorShared& shared)
    : shared_(shared),
      random_(std::random_device{}()),
      child_(shared.children ? shared.children->claim() : nullptr) {}

void Executor::prepare() {
  if (child_) child_->prepare();
}

void Executor::run(LeasedJob& job) {
  failure_.reset();
  auto settlement = attempt(job);
  if (job.stage == LeasedJob::Stage::abandoned) return;
  if (job.task)
    shape_record(settlement, job.envelope, job.task->options,
                 job.canvas || job.unrun == LeasedJob::Unrun::expired);
  job.settlement = std::move(settlement);
  // If the broker thread was first, it has settled the job and will not look at ours.
  const bool ended = job.advance(LeasedJob::Stage::running, LeasedJob::Stage::finished);
  if (job.trace) tell(job, ended);
  if (ended) {
    // Large arguments go here, on one of many threads, not on the broker thread. The name stays: it may be
    // read there.
    job.envelope.args = job.envelope.meta = nullptr;
    job.envelope.headers.clear();
  } else {
    job.advance(LeasedJob::Stage::queued, LeasedJob::Stage::finished);
  }
}

/// `ended`: a handler was called, and its outcome counts.
void Executor::tell(const LeasedJob& job, bool ended) const {
  // What waits for its turn, or was run before, is no step of its trace.
  if (job.unrun == LeasedJob::Unrun::limited || job.unrun == LeasedJob::Unrun::repeated) return;
  const bool handled = ended || job.stage == LeasedJob::Stage::queued;
  if (!handled) return;
  auto failure = failure_;
  if (!failure)
    if (const auto* dead = std::get_if<DeadLetter>(&job.settlement->disposition))
      failure = Failure{dead->reason, dead->meta.value("error", "")};
  end_job_trace(shared_.tracer, job, shared_.rules, shared_.name_space,
                job.called_off ? "cancelled" : state_of(job.settlement->disposition, job.unrun), failure,
                shared_.clock.wall());
}

Settlement Executor::attempt(LeasedJob& job) {
  const auto& rules = shared_.rules;
  const auto now = [&] { return AttemptTimes{job.started_at, shared_.clock.wall()}; };
  job.started_at = shared_.clock.wall();

  if (rules.max_deliveries > 0 && job.delivery.deliveries > rules.max_deliveries) {
    job.canvas = read_canvas_part(job.delivery, shared_.signer);
    return settle_dead(
        job.delivery, "", "max-deliveries-exceeded",
        {"max-deliveries-exceeded", "handed out " + std::to_string(job.delivery.deliveries - 1) +
                                        " times without an end; its workers were lost"},
        now(), rules);
  }
  std::optional<CanvasPart> canvas;
  try {
    job.envelope = envelope_from_wire(job.delivery.wire);
    canvas = canvas_part(job.envelope);
    wishes_of(job.envelope);
  } catch (const Error& error) {
    return settle_dead(job.delivery, "", "malformed-envelope", {"malformed-envelope", error.what()}, now(),
                       rules);
  }
  if (const auto fault = signature_fault(job.envelope, job.delivery, shared_.signer)) {
    ++shared_.counters.forged;
    job.series = &series_of(shared_.tasks.find(job.envelope.name), job.delivery.queue);
    ++job.series->forged;
    return settle_forged(job.delivery, job.envelope.name, *fault, now(), rules);
  }
  if (canvas) job.canvas = std::make_unique<const CanvasPart>(std::move(*canvas));
  job.trace = begin_job_trace(shared_.tracer, job.envelope.headers);
  job.task = shared_.tasks.find(job.envelope.name);
  if (!job.task)
    return settle_dead(
        job.delivery, job.envelope.name, "unregistered-task",
        {"unregistered-task", "no task '" + printable(job.envelope.name) + "' on node " + rules.node}, now(),
        rules);

  job.series = &series_of(job.task, job.delivery.queue);
  job.ignore_result = ignores_result(job.envelope, job.task->options);
  if (auto settlement = hindrance(job)) return std::move(*settlement);
  job.started = shared_.clock.steady();
  if (const auto soft = limit(job.task->options.soft_time_limit, shared_.soft_time_limit))
    job.soft_deadline = job.started + *soft;
  if (const auto hard = limit(job.task->options.hard_time_limit, shared_.hard_time_limit))
    job.hard_deadline = job.started + *hard;
  if (job.envelope.visibility_timeout) job.extend_micros = job.envelope.visibility_timeout->count();
  if (job.trace && job.trace->recorded) job.trace->called_at = shared_.clock.wall();
  if (!job.advance(LeasedJob::Stage::queued, LeasedJob::Stage::running)) return {};
  // The broker thread looks at deadlines at least once a second while jobs run; sooner only when told.
  const bool short_limit = job.hard_deadline && *job.hard_deadline - job.started < std::chrono::seconds{1};
  if (short_limit || job.extend_micros) shared_.nudge();

  const double chance = std::uniform_real_distribution<>{0.0, 1.0}(random_);
  const LogScope scope(job.envelope.id, job.envelope.name, job.delivery.queue, job.delivery.attempt);
  std::optional<TraceScope> traced;
  if (job.trace) traced.emplace(job.trace->execute);
  try {
    auto outcome = call(job);
    if (job.trace && job.trace->recorded) failure_ = failure_of(outcome);
    if (auto* done = std::get_if<Done>(&outcome); done && job.ignore_result) done->value = nullptr;
    return settle_outcome(job.delivery, job.envelope, job.task->options, std::move(outcome), now(), rules,
                          chance);
  } catch (...) {
    auto failure = failure_now();
    spdlog::warn("attempt {} of {} failed: {}: {}", job.delivery.attempt + 1, job.envelope.name, failure.type,
                 failure.message);
    if (job.trace && job.trace->recorded) failure_ = failure;
    return settle_failure(job.delivery, job.envelope, job.task->options, std::move(failure), std::nullopt,
                          now(), rules, chance);
  }
}

std::optional<Settlement> Executor::hindrance(LeasedJob& job) {
  const auto& delivery = job.delivery;
  const auto& options = job.task->options;
  // What everyone hears cannot wait, and belongs to no others.
  const bool linked = job.leased && (job.canvas || job.envelope.meta.contains("stem.unique.key"));
  const auto late = expiry(job.envelope, options);
  const bool expired = late && job.started_at >= *late;
  if (!linked && !expired && !(job.leased && options.rate_limit)) return std::nullopt;
  try {
    // First: what has succeeded once has not come too late.
    if (linked && shared_.inputs.repeats(job)) {
      job.unrun = LeasedJob::Unrun::repeated;
      return Settlement{delivery.receipt, Ack{}, std::nullopt};
    }
    if (expired) {
      const LogScope scope(job.envelope.id, job.envelope.name, delivery.queue, delivery.attempt);
      spdlog::info("cancelled: it was to begin by {}", format_time(*late));
      job.unrun = LeasedJob::Unrun::expired;
      return settle_expired(delivery, job.envelope.name, *late, {std::nullopt, job.started_at},
                            shared_.rules);
    }
    if (auto missing = shared_.inputs.read(job); !missing.empty())
      return settle_dead(delivery, job.envelope.name, "canvas-forgotten",
                         {"canvas-forgotten", std::move(missing)}, {std::nullopt, shared_.clock.wall()},
                         shared_.rules);
    if (!options.rate_limit) return std::nullopt;
    const auto turn = shared_.rates.pass(job.envelope.name, *options.rate_limit);
    if (!turn) return std::nullopt;
    job.unrun = LeasedJob::Unrun::limited;
    return Settlement{delivery.receipt, Release{*turn}, std::nullopt};
  } catch (const Error& error) {
    // What cannot be read will not be better a second later.
    if (error.code() == Exit::data)
      return settle_dead(delivery, job.envelope.name, "canvas-forgotten", {"canvas-forgotten", error.what()},
                         {std::nullopt, shared_.clock.wall()}, shared_.rules);
    // The broker's link tells of what lasts, and this happens once a job.
    spdlog::debug("{} waits: {}", job.envelope.id, error.what());
    return Settlement{delivery.receipt, Release{shared_.clock.wall() + std::chrono::seconds{1}},
                      std::nullopt};
  }
}

std::optional<SignatureFault> signature_fault(const Envelope& envelope, const Delivery& delivery,
                                              const std::optional<PayloadSigner>& signer) {
  if (!signer) return std::nullopt;
  if (auto fault = signer->verify(envelope)) return fault;
  // What the broker keeps beside the envelope is not signed: a job that was copied under another id, or into
  // the queue of more powerful workers, carries a signature that is right.
  if (envelope.id != delivery.id)
    return SignatureFault{"it was signed as the job " + printable(envelope.id),
                          envelope.headers.at(signature_key_header)};
  if (envelope.queue != delivery.queue)
    return SignatureFault{"it was signed for the queue " + printable(envelope.queue),
                          envelope.headers.at(signature_key_header)};
  return std::nullopt;
}

std::unique_ptr<const CanvasPart> read_canvas_part(const Delivery& delivery,
                                                   const std::optional<PayloadSigner>& signer) {
  try {
    const auto envelope = envelope_from_wire(delivery.wire);
    if (signature_fault(envelope, delivery, signer)) return nullptr;
    auto part = canvas_part(envelope);
    return part ? std::make_unique<const CanvasPart>(std::move(*part)) : nullptr;
  } catch (const Error&) {
    return nullptr;
  }
}

JobSeries& Executor::series_of(const Registry::Task* task, const std::string& queue) {
  constexpr std::size_t most_known = 16;
  for (const auto& one : known_)
    if (one.task == task && one.queue == queue) return *one.series;
  auto& series = shared_.series.of(task, queue);
  if (known_.size() >= most_known) known_.clear();
  known_.push_back({task, queue, &series});
  return series;
}

Outcome Executor::call(LeasedJob& job) {
  struct Busy {
    ExecutorShared& shared;
    LeasedJob& job;
    Busy(ExecutorShared& all, LeasedJob& one) : shared(all), job(one) {
      ++shared.counters.busy;
      ++shared.counters.started;
      ++job.series->started;
      // When a later attempt was due is between the broker and the worker of the one before.
      if (job.delivery.attempt == 0)
        job.series->wait.add(
            shared.clock.wall() -
            std::max(job.envelope.enqueued_at, job.envelope.not_before.value_or(WallTime::min())));
    }
    ~Busy() {
      job.ended = shared.clock.steady();
      --shared.counters.busy;
    }
  } busy(shared_, job);
  JobContext context(job, shared_.stopping, shared_.clock, shared_.nudge);
  return child_ ? child_->run(job, context) : job.task->handler(context);
}

}  // namespace stem
