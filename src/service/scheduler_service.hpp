#pragma once

#include <functional>
#include <memory>
#include <stem/config.hpp>

#include "scheduler/scheduler.hpp"
#include "service/daemon.hpp"
#include "service/workload.hpp"

namespace stem {

/// The scheduler as the workload of a service.
class SchedulerService : public Workload {
 public:
  /// `reread` gives the configuration anew for a reload.
  SchedulerService(const Config& config, ServiceOutputs outputs, std::function<Config()> reread);

  void start() override;
  int event_fd() const override;
  void clear_event() override;
  Vitals vitals() const override;
  void measure(MetricSnapshot& snapshot) const override;
  std::shared_ptr<Tracer> tracer() const override { return tracer_; }
  std::optional<int> finished() const override;
  /// All modes are the same: there is nothing to drain.
  void stop(StopMode mode) override;
  void reload() override;
  void signal(int number) override;

 private:
  std::string status_line() const;

  Config config_;
  ServiceOutputs outputs_;
  std::function<Config()> reread_;
  std::shared_ptr<Tracer> tracer_;
  std::unique_ptr<Scheduler> scheduler_;
  bool stopping_ = false;
};

}  // namespace stem
