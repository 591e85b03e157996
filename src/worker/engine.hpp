#pragma once

#include <sys/types.h>

#include <memory>
#include <set>
#include <stem/task.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/revocation.hpp"
#include "core/stop_mode.hpp"
#include "storage/open.hpp"
#include "worker/broker_link.hpp"
#include "worker/engine_options.hpp"
#include "worker/executor.hpp"
#include "worker/held_job.hpp"
#include "worker/signal_fd.hpp"
#include "worker/unsettled.hpp"
#include "worker/work_queue.hpp"

namespace stem {

class ControlDesk;

/// Jobs from the broker to handlers and their outcomes back. One broker thread leases and settles in batches;
/// `concurrency` executor threads run handlers. All functions are for one controlling thread, and return at
/// once.
///
/// What ends each wait: executors wait for the work queue, which close() ends. The broker thread waits for
/// its own event descriptor, the broker's, and a time-out of at most `recheck`; a broker call ends by the
/// adapter's time-outs. If the process dies here, its leases run out and the jobs are handed to others.
class Engine {
 public:
  Engine(EngineOptions options, const Registry& tasks, const Storage& storage,
         const Clock& clock = Clock::system());
  /// As halt(); then waits for handlers that still run, so nothing they use goes away. Check idle() before if
  /// that must not take for ever.
  ~Engine();

  void start();
  /// Take no more jobs; put back those that no handler has begun; finish the others.
  void quiet();
  /// quiet(), and running handlers are asked to return (TaskContext::cancelled).
  void cancel();
  /// quiet(), and running jobs are put back at once. Their handlers go on until the process ends, for
  /// nothing.
  void halt();
  /// From now on, take jobs of these queues. Thread-safe, as queues() is.
  void serve(std::vector<std::string> queues);
  std::vector<std::string> queues() const;
  /// Of these, those from which nothing is taken now. Thread-safe.
  std::vector<std::string> paused() const;
  /// How an operator told this worker to end, through the broker. Thread-safe.
  std::optional<StopMode> told_to_end() const;
  /// Whether every job has been settled, or given up, after quiet(), cancel() or halt().
  bool finished() const { return finished_; }
  /// Whether no handler runs.
  bool idle() const { return shared_.counters.busy == 0; }

  /// Readable when something happened that the main loop may want to show: at most once a second, and at once
  /// when the broker is reached or lost, for stuck handlers, and for the end.
  SignalFd& events() { return events_; }

  const Counters& counters() const { return shared_.counters; }
  const EngineOptions& options() const { return options_; }
  int inflight() const { return inflight_; }  ///< jobs leased to this process
  const BrokerLink& link() const { return link_; }
  /// When the broker thread last went round. It does so at least every `recheck` plus the time of one broker
  /// call.
  SteadyTime loop_turned() const { return SteadyTime{SteadyTime::duration{loop_turned_}}; }

  // For the control desk, on the broker thread.
  /// All jobs here whose end is not known.
  std::vector<HeldJob> held() const;
  /// A job that waits here is cancelled; a handler that runs it is asked to stop if the order says so, and its job
  /// is cancelled then. Returns whether one runs it.
  bool revoke(const Revocation& order);
  /// Takes nothing from these queues, whether it serves them or not, and puts back what no handler has begun.
  void pause(const std::vector<std::string>& queues);
  /// Returns whether it is the first time.
  bool tell_to_end(StopMode mode);

  /// The longest sleep: a publisher that dies between its commit and its wake-up call delays a job by no
  /// more.
  static constexpr Duration recheck = std::chrono::seconds{5};

 private:
  enum class Phase { running, quiet, cancelling, halted };

  void broker_loop();
  void executor_loop();
  void turn();
  // The steps of one turn, in their order.
  void attend();
  void collect();
  void put_back();
  void expire();
  void write_progress();
  void renew();
  void exchange();
  void forget();
  void rest();

  void decide(LeasedJob& job, Settlement settlement);
  void end_revoked(LeasedJob& job);
  std::vector<LeasedJob*> take_out(const std::function<bool(const LeasedJob&)>& goes);
  void release(LeasedJob& job);
  void deliver(std::vector<Delivery> deliveries);
  bool ask(const std::function<void()>& call);
  bool is_suspect(const Delivery& delivery) const;
  std::size_t undecided() const;
  std::size_t base() const;
  Demand demand() const;
  bool lingers(SteadyTime now) const;
  void announce(bool at_once);
  void enter(Phase phase);

  const EngineOptions options_;
  const Storage storage_;
  const Clock& clock_;
  ExecutorShared shared_;
  WorkQueue work_;
  SignalFd wake_, events_;
  BrokerLink link_;
  int broker_fd_ = -1;

  std::atomic<Phase> phase_{Phase::running};
  std::atomic<bool> finished_{false}, relook_{false};
  std::atomic<int> inflight_{0};
  std::atomic<SteadyTime::rep> loop_turned_{0};
  mutable std::mutex queues_mutex_;
  std::vector<std::string> queues_;
  std::set<std::string> paused_;
  std::atomic<int> told_to_end_{-1};  ///< a StopMode

  std::mutex returned_mutex_;
  std::vector<LeasedJob*> returned_;  ///< finished or abandoned jobs that executors hand back

  // The broker thread's own.
  std::unique_ptr<ControlDesk> desk_;
  std::vector<std::unique_ptr<LeasedJob>> jobs_;
  Unsettled unsettled_{shared_.counters};
  SteadyTime last_collected_{}, last_exchange_{};
  SteadyTime next_renewal_{}, next_announcement_{}, next_sweep_{};
  std::optional<SteadyTime> next_look_;  ///< when to ask for jobs without having been woken
  bool announcement_due_ = false;
  bool look_ = true;  ///< there may be jobs to fetch
  int announced_busy_ = 0;
  std::size_t ahead_ = 0;               ///< jobs to hold at once; follows the pace of the handlers
  std::atomic<bool> lingering_{false};  ///< the broker thread lets outcomes gather

  std::vector<std::thread> executors_;
  std::thread broker_thread_;
};

}  // namespace stem
