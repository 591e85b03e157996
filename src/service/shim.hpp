#pragma once

#include <memory>
#include <stem/config.hpp>
#include <string>
#include "service/daemon.hpp"
#include "service/workload.hpp"

namespace stem {

struct ShimSettings {
  std::string command;      ///< split by split_command(); the program is looked up in PATH
  std::string workdir;      ///< empty = as it is
  Environment environment;  ///< of the program, complete
  /// STEM_COMMAND_NOTIFY. yes: ready when the program says READY=1. no: ready once it has run for `settle`;
  /// it gets no NOTIFY_SOCKET. automatic: whichever comes first.
  enum class Speaks { automatic, yes, no } speaks = Speaks::automatic;
  Duration settle = std::chrono::seconds{1};
  Duration leftover_limit =
      std::chrono::seconds{10};  ///< between SIGTERM and SIGKILL to what the program leaves behind

  /// For config.command, with STEM_WORKER_NODE _INDEX _PIDFILE _LOGFILE _HOST _QUEUES for the program. Throws
  /// Error 78.
  static ShimSettings from(const Config& config, const ServiceSettings& service,
                           const Environment& environment);
};

/// Looks after a foreign program as if it were a Stem worker: docs/foreign-programs.md. Between us and the
/// program stands a keeper process, which ends all that the program ever started as soon as we are gone, even
/// by SIGKILL.
class Shim : public Workload {
 public:
  Shim(ShimSettings settings, ServiceOutputs outputs);
  ~Shim() override;

  void start() override;
  int event_fd() const override;
  void clear_event() override;
  Vitals vitals() const override;
  std::optional<int> finished() const override;
  void stop(StopMode mode) override;
  void reload() override;
  void signal(int number) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace stem
