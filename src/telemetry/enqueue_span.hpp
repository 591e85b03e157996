#pragma once

#include <memory>
#include <stem/envelope.hpp>

#include "telemetry/tracer.hpp"

namespace stem {

/// `stem.enqueue`: the publication of a job, or of a whole canvas. Made before the envelope is signed, ended
/// after the broker has it. Null where none is recorded.
using EnqueueSpan = std::unique_ptr<Span>;

/// Gives the envelope the trace context that it travels with: of a new span, below the context that its
/// producer put into its headers, or else below that of this thread (a handler's); the header itself, where
/// nothing is recorded here (`tracer` null or off). In a TraceScope of_jobs() it is that scope's. Headers
/// that are malformed are removed: they start a trace anew ("Trace Context", Processing Model).
EnqueueSpan trace_enqueue(Tracer* tracer, Envelope& envelope);

/// The publication of a canvas: a `kind` ("chain", "group", "chord") of `jobs` jobs. `context` becomes what
/// all of them travel with; empty if they belong to no trace.
EnqueueSpan trace_canvas(Tracer* tracer, const char* kind, const std::string& id, std::size_t jobs,
                         std::optional<TraceContext>& context);

/// Tells of it. `error` is why nothing was published, or empty. `duplicate_of` is the job that was there
/// already, because of which there was nothing to publish; null = it was. Where `tracer` has gone meanwhile
/// (Tracer::end_all()), nothing is told.
void end_enqueue(Tracer* tracer, EnqueueSpan span, const std::string& error = {},
                 const std::string* duplicate_of = nullptr);

/// What a failure says, for a span: bounded, without the passwords of addresses.
std::string span_error(const std::string& type, const std::string& message);

}  // namespace stem
