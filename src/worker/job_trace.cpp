#include "worker/job_trace.hpp"

#include "telemetry/enqueue_span.hpp"
#include "worker/attempts.hpp"
#include "worker/leased_job.hpp"

namespace stem {
namespace {

const std::string* text_in(const Json& meta, const char* key) {
  if (!meta.is_object()) return nullptr;
  const auto found = meta.find(key);
  return found == meta.end() ? nullptr : found->get_ptr<const std::string*>();
}

}  // namespace

std::optional<JobTrace> begin_job_trace(Tracer* tracer, const std::map<std::string, std::string>& headers) {
  const auto parent = trace_context_of(headers);
  const bool records = tracer && tracer->on();
  if (!parent && !records) return std::nullopt;
  std::optional<JobTrace> trace(std::in_place);
  if (!records) {
    trace->consume = trace->execute = *parent;
    return trace;
  }
  trace->consume = tracer->child_of(parent);
  trace->execute = trace->consume;
  trace->execute.span = new_span_id();
  if (parent) trace->parent = parent->span;
  trace->recorded = trace->consume.sampled;
  return trace;
}

void end_job_trace(Tracer* tracer, const LeasedJob& job, const AttemptRules& rules,
                   const std::string& name_space, const char* state, const std::optional<Failure>& failure,
                   WallTime now) {
  const auto& trace = job.trace;
  if (!trace || !trace->recorded) return;
  const bool called = trace->called_at != WallTime{};
  if (!tracer->room(called ? 2 : 1)) return;
  const auto& envelope = job.envelope;
  const auto span = [&](const char* phase) {
    Span made;
    made.attributes = {{"host.name", tracer->host()},
                       {"stem.span.phase", std::string(phase)},
                       {"stem.task", envelope.name},
                       {"stem.task.id", envelope.id},
                       {"stem.task.attempt", std::int64_t{job.delivery.attempt}},
                       {"stem.queue", job.delivery.queue},
                       {"stem.worker.id", rules.node},
                       {"stem.worker.namespace", name_space},
                       {"stem.namespace", name_space},
                       {"stem.task.state", std::string(state)}};
    made.end = now;
    if (failure) {
      made.failed = true;
      made.error = span_error(failure->type, failure->message);
      made.attributes.push_back({"error.type", failure->type});
    }
    return made;
  };
  auto consume = span("consume");
  consume.context = trace->consume;
  if (trace->parent) {
    consume.parent = *trace->parent;
    consume.parent_remote = true;
  }
  consume.name = "stem.consume";
  consume.kind = Span::Kind::consumer;
  consume.start = job.started_at;
  consume.attributes.push_back(
      {"stem.task.max_retries",
       std::int64_t{job.task ? allowed_retries(envelope, job.task->options) : envelope.max_retries}});
  consume.attributes.push_back({"stem.task.priority", std::int64_t{envelope.priority}});
  const auto header = [&](const char* name, const char* key) {
    if (const auto found = envelope.headers.find(name); found != envelope.headers.end())
      consume.attributes.push_back({key, found->second});
  };
  header("stem-group-id", "stem.group.id");
  header("stem-chord-id", "stem.chord.id");
  header("stem-chain-id", "stem.chain.id");
  header("schedule-id", "stem.schedule.id");
  if (const auto* id = text_in(envelope.meta, "stem.parentTaskId"))
    consume.attributes.push_back({"stem.parent_task_id", *id});
  if (const auto* id = text_in(envelope.meta, "stem.rootTaskId"))
    consume.attributes.push_back({"stem.root_task_id", *id});
  if (called) {
    auto execute = span("execute");
    execute.context = trace->execute;
    execute.parent = trace->consume.span;
    execute.name = "stem.execute." + envelope.name;
    execute.start = trace->called_at;
    // What a handler that was given up writes is not looked at.
    if (job.stage == LeasedJob::Stage::finished && job.ended > job.started)
      execute.end = execute.start + duration_cast<Duration>(job.ended - job.started);
    consume.end = std::max(consume.end, execute.end);
    tracer->add(std::move(execute));
  }
  tracer->add(std::move(consume));
}

}  // namespace stem
