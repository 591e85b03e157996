#include "core/trace_scope.hpp"

namespace stem {
namespace {
thread_local const TraceScope* innermost = nullptr;
}

TraceScope::TraceScope(const TraceContext& context, bool of_jobs)
    : context_(context), of_jobs_(of_jobs), outer_(innermost) {
  innermost = this;
}

TraceScope::~TraceScope() {
  innermost = outer_;
}

const TraceScope* TraceScope::current() {
  return innermost;
}

}  // namespace stem
