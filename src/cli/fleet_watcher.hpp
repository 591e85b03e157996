#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stem/error.hpp>
#include <string>
#include <thread>
#include <vector>

#include "cli/fleet_sample.hpp"
#include "cli/queue_order.hpp"
#include "worker/signal_fd.hpp"

namespace stem::cli {

/// Takes a sample of the fleet now, and asks workers now and then to tell more often how they fare. One
/// thread.
class WatchedFleet {
 public:
  WatchedFleet(std::shared_ptr<Fleet> fleet, std::vector<std::string> nodes, Duration interval)
      : fleet_(std::move(fleet)), nodes_(std::move(nodes)), interval_(interval) {}

  /// Throws Error as the storage does.
  FleetSample take();
  Fleet& fleet() { return *fleet_; }
  /// Why workers cannot be asked, so that figures are as old as heartbeats are; empty = they are asked.
  const std::string& unasked() const { return unasked_; }

 private:
  const std::shared_ptr<Fleet> fleet_;
  const std::vector<std::string> nodes_;
  const Duration interval_;
  SteadyTime ask_again_{};
  std::string unasked_;
};

/// Looks again and again on a thread of its own, so that whoever shows what it sees never waits for a broker.
class FleetWatcher {
 public:
  FleetWatcher(std::shared_ptr<Fleet> fleet, std::vector<std::string> nodes, Duration interval);
  /// Ends the thread, which may be in the middle of a call: stop() before tells whether it was.
  ~FleetWatcher();

  /// Polls readable when there is news.
  int fd() const { return state_->news.fd(); }
  struct News {
    std::optional<FleetSample> sample;  ///< a newer one
    std::string fault;                  ///< why there is none
    Exit code = Exit::ok;               ///< what kind of fault
    std::string said;                   ///< what became of an order
    std::string unasked;
  };
  News take_news();
  /// Carried out before the next look, which follows at once.
  void give(QueueOrder order);
  /// Returns whether the thread has ended within `patience`. If not, it is left to the end of the process: it
  /// does nothing that could be half done.
  bool stop(Duration patience);

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<QueueOrder> orders;
    News found;
    bool stopping = false, ended = false;
    SignalFd news;
  };
  static void watch(const std::shared_ptr<State>& state, WatchedFleet look, Duration interval);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace stem::cli
