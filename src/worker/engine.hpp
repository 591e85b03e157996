#pragma once

#include <sys/types.h>

#include <memory>
#include <stem/task.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/revocation.hpp"
#include "core/stop_mode.hpp"
#include "storage/open.hpp"
#include "worker/broadcast_listener.hpp"
#include "worker/broker_link.hpp"
#include "worker/canvas_book.hpp"
#include "worker/engine_options.hpp"
#include "worker/held_jobs.hpp"
#include "worker/lease_renewal.hpp"
#include "worker/prefetch.hpp"
#include "worker/progress_reports.hpp"
#include "worker/queue_watch.hpp"
#include "worker/signal_fd.hpp"
#include "worker/subscriptions.hpp"

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
  /// `forks`: handlers run in its children, of which there are options.concurrency; null = on threads. It
  /// outlives the engine.
  Engine(EngineOptions options, const Registry& tasks, const Storage& storage,
         const Clock& clock = Clock::system(), ForkServer* forks = nullptr);
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
  /// From now on, take jobs of these queues and listen on these channels. Thread-safe.
  void serve(std::vector<std::string> queues, std::vector<std::string> broadcasts);
  /// Thread-safe, as it is itself.
  const Subscriptions& subscriptions() const { return subscriptions_; }
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

  /// What this worker can say in figures: its jobs, leases, handlers, broker and queues. The queues are
  /// looked at while somebody wants to know: see want_queues(). Thread-safe.
  void measure(MetricSnapshot& snapshot) const;
  /// From now on, for so long, at each heartbeat; first at once. Thread-safe.
  void want_queues(Duration length);

  /// Where handlers run; null = on threads. Thread-safe, as it is itself.
  ChildPool* children() const { return children_.get(); }

  // For the control desk, on the broker thread.
  /// All jobs here whose end is not known.
  std::vector<HeldJob> held() const { return held_.view(); }
  /// As HeldJobs::revoke().
  bool revoke(const Revocation& order) { return held_.revoke(order); }
  /// What became of the jobs of each task and queue.
  const TaskTallies& tallies() const { return held_.unsettled().tallies(); }
  /// Takes nothing from these queues, whether it serves them or not, and puts back what no handler has begun.
  void pause(const std::vector<std::string>& queues);
  void count_heartbeat() { ++shared_.counters.heartbeats; }
  /// Returns whether it is the first time.
  bool tell_to_end(StopMode mode);

  /// The longest sleep: a publisher that dies between its commit and its wake-up call delays a job by no
  /// more.
  static constexpr Duration recheck = std::chrono::seconds{5};

 private:
  enum class Phase { running, quiet, cancelling, halted };

  void broker_loop();
  void turn();
  // The steps of one turn, in their order.
  void attend();
  void put_back();
  void watch_children();
  void exchange();
  void listen();
  void tidy();
  void forget();
  void rest();

  void deliver(std::vector<Delivery> deliveries, bool leased);
  std::size_t room() const;
  bool ask(const std::function<void()>& call);
  Demand demand() const;
  bool lingers(SteadyTime now) const;
  void announce(bool at_once);
  void enter(Phase phase);

  const EngineOptions options_;
  const Storage storage_;
  const Clock& clock_;
  ExecutorShared shared_;
  SignalFd wake_, events_;
  std::unique_ptr<ChildPool> children_;
  BrokerLink link_;
  int broker_fd_ = -1;

  std::atomic<Phase> phase_{Phase::running};
  std::atomic<bool> finished_{false}, relook_{false};
  std::atomic<int> inflight_{0};
  std::atomic<SteadyTime::rep> loop_turned_{0};
  std::atomic<int> told_to_end_{-1};  ///< a StopMode
  Subscriptions subscriptions_;
  QueueWatch queue_watch_;

  // The broker thread's own.
  std::unique_ptr<ControlDesk> desk_;
  BroadcastListener listener_;
  HeldJobs held_;
  LeaseRenewal renewal_;
  ProgressReports progress_;
  CanvasBook canvas_;
  Prefetch prefetch_;
  Duration last_answer_{};  // how long it took the last exchange to come back
  SteadyTime last_exchange_{}, next_announcement_{}, next_sweep_{};
  std::optional<SteadyTime> next_look_;  ///< when to ask for jobs without having been woken
  bool announcement_due_ = false;
  bool look_ = true;  ///< there may be jobs to fetch
  int announced_busy_ = 0;

  std::thread broker_thread_;
};

}  // namespace stem
