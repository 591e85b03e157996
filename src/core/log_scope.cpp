#include "core/log_scope.hpp"

namespace stem {
namespace {
thread_local const LogScope* innermost = nullptr;
}

LogScope::LogScope(const std::string& id, const std::string& name, const std::string& on_queue, int number)
    : task_id(id), task(name), queue(on_queue), attempt(number), outer_(innermost) {
  innermost = this;
}

LogScope::~LogScope() {
  innermost = outer_;
}

const LogScope* LogScope::current() {
  return innermost;
}

}  // namespace stem
