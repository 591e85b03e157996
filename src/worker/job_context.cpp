#include "worker/job_context.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "worker/attempts.hpp"

namespace stem {

int JobContext::max_retries() const {
  return allowed_retries(job_.envelope, job_.task->options);
}

spdlog::logger& JobContext::log() {
  return *spdlog::default_logger_raw();
}

void JobContext::heartbeat() {
  extend_lease(Duration{1});
}

void JobContext::extend_lease(Duration length) {
  job_.extend_micros = std::max<std::int64_t>(length.count(), 1);
  nudge_();
}

void JobContext::progress(double fraction, const std::string& note) {
  const auto now = clock_.steady();
  // A record of what runs would outlive the success that leaves none.
  // A child says it once a second at the most; held back again, every other report would be lost.
  if ((now < next_progress_ && job_.child == 0) || job_.ignore_result) return;
  next_progress_ = now + std::chrono::seconds{1};
  {
    const std::lock_guard lock(job_.progress_mutex);
    // Nothing of nothing is no number; it is shown as nothing done.
    job_.progress.emplace(std::isnan(fraction) ? 0.0 : std::clamp(fraction, 0.0, 1.0), note);
  }
  nudge_();
}

bool JobContext::cancelled() const {
  return stopping_ || job_.cancelled || (job_.soft_deadline && clock_.steady() >= *job_.soft_deadline);
}

std::map<std::string, std::string> JobContext::trace_headers() const {
  std::map<std::string, std::string> headers;
  if (job_.trace) put_trace_context(headers, job_.trace->execute);
  return headers;
}

}  // namespace stem
