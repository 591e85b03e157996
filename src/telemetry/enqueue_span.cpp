#include "telemetry/enqueue_span.hpp"

#include "core/cut_text.hpp"
#include "core/redaction.hpp"
#include "core/trace_scope.hpp"

namespace stem {
namespace {

constexpr const char* enqueue = "stem.enqueue";
constexpr std::size_t longest_error = 256;

std::optional<TraceContext> context_here() {
  const auto* scope = TraceScope::current();
  return scope ? std::optional(scope->context()) : std::nullopt;
}

/// Empty where nothing is recorded; `context` is what the jobs travel with in any case.
EnqueueSpan begin(Tracer* tracer, const std::optional<TraceContext>& parent,
                  std::optional<TraceContext>& context) {
  context = parent;
  if (!tracer || !tracer->on()) return nullptr;
  context = tracer->child_of(parent);
  if (!context->sampled || !tracer->room()) return nullptr;
  auto span = std::make_unique<Span>();
  span->context = *context;
  if (parent) span->parent = parent->span;
  span->name = enqueue;
  span->kind = Span::Kind::producer;
  span->start = Clock::system().wall();
  span->attributes = {{"host.name", tracer->host()}, {"stem.span.phase", std::string("enqueue")}};
  return span;
}

}  // namespace

EnqueueSpan trace_enqueue(Tracer* tracer, Envelope& envelope) {
  const auto given = trace_context_of(envelope.headers);
  const auto* scope = TraceScope::current();
  std::optional<TraceContext> context = given;
  EnqueueSpan span;
  if (scope && scope->of_jobs()) {
    if (!given) context = scope->context();
  } else {
    span = begin(tracer, given ? given : context_here(), context);
    if (span) span->parent_remote = given.has_value();
  }
  put_trace_context(envelope.headers, context);
  if (!span) return span;
  auto& attributes = span->attributes;
  attributes.insert(attributes.end(), {{"stem.task", envelope.name},
                                       {"stem.task.id", envelope.id},
                                       {"stem.task.attempt", std::int64_t{envelope.attempt}},
                                       {"stem.task.max_retries", std::int64_t{envelope.max_retries}},
                                       {"stem.task.priority", std::int64_t{envelope.priority}},
                                       {"stem.queue", envelope.queue}});
  if (const auto schedule = envelope.headers.find("schedule-id"); schedule != envelope.headers.end())
    attributes.push_back({"stem.schedule.id", schedule->second});
  if (envelope.not_before) attributes.push_back({"stem.task.not_before", format_time(*envelope.not_before)});
  return span;
}

EnqueueSpan trace_canvas(Tracer* tracer, const char* kind, const std::string& id, std::size_t jobs,
                         std::optional<TraceContext>& context) {
  const auto* scope = TraceScope::current();
  if (scope && scope->of_jobs()) {
    context = scope->context();
    return nullptr;
  }
  auto span = begin(tracer, context_here(), context);
  if (!span) return span;
  auto& attributes = span->attributes;
  attributes.insert(attributes.end(), {{"stem.canvas", std::string(kind)},
                                       {"stem.canvas.id", id},
                                       {"stem.canvas.jobs", static_cast<std::int64_t>(jobs)}});
  return span;
}

void end_enqueue(Tracer* tracer, EnqueueSpan span, const std::string& error,
                 const std::string* duplicate_of) {
  if (!span || !tracer) return;
  span->end = Clock::system().wall();
  span->failed = !error.empty();
  if (duplicate_of) {
    for (auto& one : span->attributes)
      if (one.key == "stem.task.id") one.value = *duplicate_of;
    span->attributes.push_back({"stem.task.duplicate", true});
  }
  if (span->failed) span->error = span_error("enqueue", error);
  tracer->add(std::move(*span));
}

std::string span_error(const std::string& type, const std::string& message) {
  std::string text = type;
  // Cut first: what is quoted may be megabytes.
  text.append(": ").append(redacted(std::string_view(message).substr(0, 4 * longest_error)));
  cut_text(text, longest_error);
  return text;
}

}  // namespace stem
