#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <stem/config.hpp>
#include <thread>

#include "scheduler/beat.hpp"
#include "worker/broker_link.hpp"
#include "worker/signal_fd.hpp"

namespace stem {

/// What `config` asks for. `node` is told to people who ask which scheduler leads. Throws Error (exit 78) if
/// jobs are to be signed and cannot be.
BeatOptions beat_options(const Config& config, const std::string& node);

/// A Beat on a thread of its own. It sleeps until the next slot is due, or a schedule is changed, or the lock
/// has to be renewed: for the last it wakes up at least every five seconds. Functions are for one controlling
/// thread and return at once.
///
/// What ends each wait: the schedule store's stop_waiting(), called by stop(). A failing store is waited out
/// as BrokerLink does. If the process dies here, its lock ends and another scheduler takes over where it was.
class Scheduler {
 public:
  Scheduler(BeatOptions options, SchedulePlaces places, const Clock& clock = Clock::system());
  /// As stop(); waits for the thread.
  ~Scheduler();

  void start();
  /// Publish no more, give up the lead.
  void stop();
  bool finished() const { return finished_; }
  void configure(const BeatOptions& options) { beat_.configure(options); }

  /// Readable when something happened that the main loop may want to show.
  SignalFd& events() { return events_; }
  const Beat& beat() const { return beat_; }
  const BrokerLink& link() const { return link_; }
  /// When the thread last went round: at least every `recheck` plus the time of its calls to the storage.
  SteadyTime loop_turned() const { return SteadyTime{SteadyTime::duration{loop_turned_}}; }
  static constexpr Duration recheck = std::chrono::seconds{5};

 private:
  void run();
  void rest(Duration length);

  const Clock& clock_;
  const std::shared_ptr<Store> schedules_;
  Beat beat_;
  SignalFd events_;
  BrokerLink link_;
  std::atomic<bool> stopping_{false}, finished_{false};
  std::atomic<SteadyTime::rep> loop_turned_{0};
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::thread thread_;
};

}  // namespace stem
