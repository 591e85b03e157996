#pragma once

#include <functional>
#include <stem/task.hpp>

#include "worker/leased_job.hpp"

namespace stem {

/// The TaskContext of one running job.
class JobContext final : public TaskContext {
 public:
  /// `stopping` is read by cancelled(); `nudge` wakes the broker thread. Both outlive the context, as `job`
  /// does.
  JobContext(LeasedJob& job, const std::atomic<bool>& stopping, const Clock& clock,
             const std::function<void()>& nudge)
      : job_(job), stopping_(stopping), clock_(clock), nudge_(nudge) {}

  const std::string& id() const override { return job_.envelope.id; }
  const std::string& task() const override { return job_.envelope.name; }
  const std::string& queue() const override { return job_.delivery.queue; }
  int attempt() const override { return job_.delivery.attempt; }
  int max_retries() const override;
  const Json& args() const override { return job_.envelope.args; }
  const std::map<std::string, std::string>& headers() const override { return job_.envelope.headers; }
  const Result* previous() const override { return job_.previous ? &*job_.previous : nullptr; }
  const std::vector<Json>& chord_results() const override { return job_.chord_results; }
  spdlog::logger& log() override;
  void heartbeat() override;
  void extend_lease(Duration length) override;
  void progress(double fraction, const std::string& note) override;
  bool cancelled() const override;
  std::map<std::string, std::string> trace_headers() const override;

 private:
  LeasedJob& job_;
  const std::atomic<bool>& stopping_;
  const Clock& clock_;
  const std::function<void()>& nudge_;
  SteadyTime next_progress_{};
};

}  // namespace stem
