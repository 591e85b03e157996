#pragma once

#include <optional>
#include <stem/result.hpp>

#include "core/trace_context.hpp"
#include "telemetry/tracer.hpp"

namespace stem {

struct LeasedJob;
struct AttemptRules;

/// Where in its trace an attempt is. Of a job that belongs to none, and is not recorded, there is none.
struct JobTrace {
  TraceContext consume{};  ///< span `stem.consume`: from the delivery's turn to its end
  TraceContext execute{};  ///< span `stem.execute.TASK`, below it: the handler. What the handler passes on
  std::optional<SpanId> parent{};
  bool recorded = false;  ///< the spans will be told of
  WallTime called_at{};   ///< when the handler was; not set if it was not
};

/// For an attempt whose envelope is believed. Each attempt of a job is a part of the producer's trace of its
/// own.
std::optional<JobTrace> begin_job_trace(Tracer* tracer, const std::map<std::string, std::string>& headers);

/// Tells of the attempt; `state` says what became of it. Does nothing where it is not recorded. By whoever
/// ended the attempt: the executor, or the broker thread in its place.
void end_job_trace(Tracer* tracer, const LeasedJob& job, const AttemptRules& rules,
                   const std::string& name_space, const char* state, const std::optional<Failure>& failure,
                   WallTime now);

}  // namespace stem
