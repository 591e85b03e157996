#pragma once

#include <functional>
#include <memory>
#include <stem/config.hpp>

#include "service/daemon.hpp"
#include "service/workload.hpp"
#include "worker/engine.hpp"

namespace stem {

/// Stem's own worker as the workload of a service.
class WorkerService : public Workload {
 public:
  /// `reread` gives the configuration anew for a reload; without it a reload reopens the log only. `signer`
  /// as in WorkerRun. `forks`: where handlers run; null = on threads; it outlives this.
  WorkerService(const Config& config, const Registry& tasks, ServiceOutputs outputs,
                std::function<Config()> reread,
                const std::optional<std::optional<PayloadSigner>>& signer = {}, ForkServer* forks = nullptr);
  /// Leaves handlers that still run to themselves, with all that they use: see abandoned_handlers().
  ~WorkerService() override;

  void start() override;
  int event_fd() const override;
  void clear_event() override;
  Vitals vitals() const override;
  void measure(MetricSnapshot& snapshot) const override;
  std::shared_ptr<Tracer> tracer() const override { return tracer_; }
  std::optional<int> finished() const override;
  std::optional<StopMode> told_to_stop() const override { return engine_->told_to_end(); }
  void stop(StopMode mode) override;
  void reload() override;
  void signal(int number) override;
  Json pool() const override;

  /// Whether a worker has ended in this process while handlers ran on. Then the process must end by _exit(2),
  /// for those handlers may use anything that a normal end destroys.
  static bool abandoned_handlers();

 private:
  std::string status_line() const;

  Config config_;
  ServiceOutputs outputs_;
  std::function<Config()> reread_;
  std::shared_ptr<Tracer> tracer_;
  std::unique_ptr<Engine> engine_;
  bool stopping_ = false;
};

}  // namespace stem
