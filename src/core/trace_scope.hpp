#pragma once

#include "core/trace_context.hpp"

namespace stem {

/// What this thread does belongs to a trace while the object lives: jobs that it enqueues continue it, and
/// lines that it logs carry TRACE_ID=. The context is not copied and must outlive the scope.
class TraceScope {
 public:
  /// `of_jobs`: the context is that of a publication, and all jobs that are made meanwhile travel with it as
  /// it is.
  explicit TraceScope(const TraceContext& context, bool of_jobs = false);
  ~TraceScope();
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  const TraceContext& context() const { return context_; }
  bool of_jobs() const { return of_jobs_; }

  /// The innermost scope of this thread, or null.
  static const TraceScope* current();

 private:
  const TraceContext& context_;
  const bool of_jobs_;
  const TraceScope* outer_;
};

}  // namespace stem
