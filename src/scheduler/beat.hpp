#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <stem/signing.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/routing.hpp"
#include "scheduler/leader_lock.hpp"
#include "scheduler/schedule_book.hpp"
#include "scheduler/schedule_series.hpp"
#include "telemetry/enqueue_span.hpp"

namespace stem {

/// What becomes of slots that were missed: `last` is for those whose like has not come since.
enum class CatchUp { none, last, all };

struct BeatOptions {
  std::string title = "scheduler";  ///< for people who ask who leads
  CatchUp catch_up = CatchUp::last;
  Duration grace = std::chrono::minutes{1};  ///< a slot that is later than this, and its jitter, was missed
  Duration lock_period = std::chrono::seconds{15};  ///< of the leader's lock; another takes over within two
  int default_max_retries = 3;
  Routing routing{};                      ///< where the jobs of a schedule go, beyond what it says itself
  std::optional<PayloadSigner> signer{};  ///< signs every job, if there is one
  std::shared_ptr<Tracer> tracer{};       ///< null = nothing is told to a collector; stays
};

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
  /// A schedule that is known. Its stored form is read again when it is due: few are at a time, and there may
  /// be very many.
  struct Item {
    std::string wire;
    ScheduleRun run;
    std::optional<WallTime> due;
    bool broken = false;  // cannot be read
  };
  using Items = std::unordered_map<std::string, Item>;
  /// What becomes of one schedule in one commit.
  struct Firing {
    Items::value_type* item;
    ScheduleRun run;
    std::optional<WallTime> due;
    std::vector<Envelope> jobs;
    bool missed = false;
    std::vector<Duration> drifts{};  // of the jobs
    std::vector<EnqueueSpan> spans{};
  };

  void lead();
  void forget();
  void start_over();
  void sweep();
  bool read_news();
  bool load_all();
  void load(const std::string& name, const std::optional<StoreEntry>& entry,
            const std::optional<StoreEntry>& run);
  void line_up(Items::value_type& item, std::optional<WallTime> due);
  void drop(const std::string& name);
  bool fire(WallTime now);
  void look_at_line(WallTime now);
  void count(const std::vector<Firing>& firings, WallTime now, Duration took);
  Firing firing(Items::value_type& item, WallTime now, const BeatOptions& options);
  bool publish(std::vector<Firing>& firings, WallTime now);
  bool already_there(const Envelope& job, WallTime due);
  void tell_next();
  BeatOptions options() const;

  const SchedulePlaces places_;
  const Clock& clock_;
  ScheduleBook book_;
  LeaderLock lock_;
  Items items_;
  std::set<std::pair<WallTime, std::string_view>> line_;  // by when they are due
  std::int64_t revision_ = -1;                            // of the book as far as it is known
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
