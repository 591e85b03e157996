#include "core/log_event.hpp"

namespace stem {
namespace {
thread_local const char* in_force = nullptr;
}

LogEvent::LogEvent(const char* identity) : outer_(in_force) {
  in_force = identity;
}

LogEvent::~LogEvent() {
  in_force = outer_;
}

const char* LogEvent::current() {
  return in_force;
}

}  // namespace stem
