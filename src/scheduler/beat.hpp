#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "scheduler/firing.hpp"
#include "scheduler/leader_lock.hpp"
#include "scheduler/schedule_book.hpp"
#include "scheduler/schedule_series.hpp"

namespace stem {

/// Publishes what is due. One thread turns it; the counters may be read by any.
///
/// A slot has one job, whose id is made of the schedule's name and the slot. Where the broker can, the job,
/// what is remembered of it and the check that we still lead are one commit: whenever a scheduler is killed,
/// hangs or loses the lock, a slot is published once. Where broker and schedule store are two systems, the
/// memory follows the job; the next leader looks whether a job of that id is queued or has a result before it
/// publishes a slot from before its term.
class Beat {
 public:
  Beat(BeatOptions options, SchedulePlaces places, const Clock& clock = Clock::system());

  /// Does all there is to do now: the lock, the news of the book, the slots that are due. Returns when there
  /// is something to do next, if nothing happens before. Throws Error as the storage does; then nothing is
  /// lost, and it may be called again.
  Duration turn();
  /// Gives up the lead.
  void resign() { lock_.release(); }
  /// What the options say from now on; the lock's period, the title and the tracer stay.
  void configure(const BeatOptions& options);

  /// The key, and the version of its value that is known: a change of it is a reason to turn.
  std::pair<std::string, std::int64_t> watched() const;

  struct Counters {
    std::atomic<bool> leading{false};        ///< as it was at the last look at the lock
    std::atomic<std::int64_t> schedules{0};  ///< that are known, while leading
    std::atomic<std::int64_t> broken{0};     ///< whose stored form cannot be read
    std::atomic<std::int64_t> published{0}, misfires{0}, errors{0};
  };
  const Counters& counters() const { return counters_; }
  /// Whether it leads, also while the store does not answer: no longer than the lock lasts. Thread-safe.
  bool leads() const;
  /// What it comes to in figures; `labels` are for those that are not of one schedule. Thread-safe.
  void measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels = {}) const;
  /// `nightly at 2025-01-03T02:00:00.000Z`, or empty.
  std::string next_up() const;
  /// Who leads, if another does.
  std::string holder() const;

 private:
  bool hold();
  void lead();
  void forget();
  void start_over();
  void sweep();
  bool read_news();
  bool load_all();
  void count_schedules();
  bool fire(WallTime now);
  void look_at_line(WallTime now);
  void count(const std::vector<Firing>& firings, WallTime now, Duration took);
  bool publish(std::vector<Firing>& firings, WallTime now,
               const std::function<void(const std::string&)>& tell);
  bool already_there(const Envelope& job, WallTime due);
  void tell_next();
  BeatOptions options() const;

  const SchedulePlaces places_;
  const Clock& clock_;
  ScheduleBook book_;
  LeaderLock lock_;
  ScheduleLine line_;
  std::int64_t revision_ = -1;  // of the book as far as it is known
  WallTime led_since_{};
  bool leading_ = false;
  int term_ = 0;
  std::atomic<SteadyTime::rep> leads_until_{0};
  SteadyTime swept_{};
  Counters counters_;
  ScheduleSeriesBook series_;

  mutable std::mutex mutex_;  // guards what follows
  BeatOptions options_;
  std::string next_up_, holder_;
};

}  // namespace stem
