#pragma once

#include <systemd/sd-event.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "service/control_socket.hpp"
#include "service/daemon.hpp"
#include "service/metrics_server.hpp"
#include "service/signal_pipe.hpp"
#include "service/watchdog_feed.hpp"

namespace stem {

/// One run of one workload: the main loop of a service, and what it knows between two turns. It waits for
/// signals, for the workload, for the control socket and for the time of its next look, which is never
/// further than the watchdog allows.
class MainLoop {
 public:
  /// All of them outlive it.
  MainLoop(const ServiceSettings& settings, Notify& notify, LogOutput& log);

  /// Until the workload has ended; returns its exit status.
  int run(Workload& workload);

  /// What the service and its workload say of themselves in figures. Thread-safe, from the workload's start
  /// to its end.
  MetricSnapshot snapshot() const;

  std::function<void()>
      on_abandon;  ///< removes the pidfiles, where the process ends with threads that cannot be joined

 private:
  enum class Phase { starting, running, stopping };

  void serve_metrics();
  void watch(int fd, sd_event_io_handler_t handler);
  int guard(void (MainLoop::*step)());

  void take_signals();
  void take_event();
  void tick();
  void become_ready(const Vitals& vitals, SteadyTime now);
  void wait_for_start(const Vitals& vitals, SteadyTime now);
  void stop(StopMode mode, const char* reason);
  bool drain(const Vitals& vitals, SteadyTime now);
  [[noreturn]] void abandon();
  void leave(int status);
  void reload();
  std::string status_line(const Vitals& vitals) const;
  Json answer(const std::string& word) const;

  struct FreeLoop {
    void operator()(sd_event* loop) const { sd_event_unref(loop); }
  };
  struct FreeSource {
    void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
  };
  using Source = std::unique_ptr<sd_event_source, FreeSource>;

  const ServiceSettings& settings_;
  Notify& notify_;
  LogOutput& log_;
  SignalPipe signals_;
  std::unique_ptr<sd_event, FreeLoop> loop_;
  std::vector<Source> sources_;
  Source timer_;
  std::optional<ControlSocket> control_;
  Workload* workload_ = nullptr;

  std::optional<MetricsServer> metrics_;
  std::atomic<Phase> phase_ = Phase::starting;
  const SteadyTime begun_ = std::chrono::steady_clock::now();
  const WallTime begun_wall_ = Clock::system().wall();
  SteadyTime looked_at_ = begun_;
  SteadyTime extended_at_{};
  std::string last_line_;
  WatchdogFeed feed_{notify_};

  unsigned reloads_ = 0;
  std::string reload_failure_;  ///< of the last one
  Exit reload_code_ = Exit::ok;

  StopMode mode_ = StopMode::warm;
  std::optional<StopMode> told_to_stop_;
  SteadyTime deadline_{};
  std::uint64_t drained_ = 0;
  std::optional<int> forced_status_;
  std::optional<int> exit_status_;
  std::exception_ptr error_;
};

}  // namespace stem
