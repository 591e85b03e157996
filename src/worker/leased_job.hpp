#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <stem/task.hpp>
#include <string>

#include "core/canvas_part.hpp"
#include "core/revocation.hpp"
#include "storage/broker.hpp"
#include "worker/job_trace.hpp"

namespace stem {

struct JobSeries;

/// One delivery on its way through this process: leased from a queue, or heard on a broadcast channel. Owned
/// by the broker thread's list; an executor borrows it between taking it from the work queue and handing it
/// back. `stage` decides who may touch what.
struct LeasedJob {
  /// queued → running → finished is the executor's way. The broker thread turns queued into given_back
  /// (shutdown, lost lease) and running into abandoned (hard time limit, hard stop, lost lease): then it
  /// settles the job itself or not at all, and the executor's outcome counts for nothing.
  enum class Stage { queued, running, finished, given_back, abandoned };

  explicit LeasedJob(Delivery given, bool is_leased = true) : delivery(std::move(given)), leased(is_leased) {}

  Delivery delivery;
  const bool
      leased;  ///< else it was heard, as it is by others: no lease to renew or to end, and no record of it
  std::atomic<Stage> stage{Stage::queued};

  // The broker thread's own.
  bool decided = false;   ///< what becomes of it is known and waits for the broker, or is known to the broker
  bool settled = false;   ///< its lease has been ended, or is lost
  bool returned = false;  ///< no executor has it any more
  std::unique_ptr<const Revocation> revoked;  ///< set: it ends as cancelled, whatever its handler says
  /// What others wait for it, once it can be believed. Also set here for a job that no executor has read.
  std::unique_ptr<const CanvasPart> canvas;
  SteadyTime renewed_at{};  ///< when its lease was last renewed at the handler's wish, or taken

  // Written by the executor before `stage` becomes running, constant from then on.
  Envelope envelope;
  const Registry::Task* task = nullptr;
  bool ignore_result = false;
  std::optional<Result> previous;  ///< what became of the job that this one follows
  std::vector<Json> chord_results;
  JobSeries* series = nullptr;    ///< where it is counted; null for what no executor has read, or believed
  std::optional<JobTrace> trace;  ///< set before `task`; empty if it belongs to no trace
  WallTime started_at{};
  SteadyTime started{};
  std::optional<SteadyTime> soft_deadline, hard_deadline;

  // Written by the executor before `stage` becomes finished.
  /// Why its handler was not called although it is settled.
  enum class Unrun { no, expired, repeated, limited };
  Unrun unrun = Unrun::no;
  std::optional<Settlement> settlement;
  SteadyTime ended{};  ///< when the handler had returned or thrown

  std::atomic<int> child{0};  ///< the process that its handler runs in, 0 = this one, or none yet

  /// Set by the broker thread together with `revoked` while its handler runs, for the executor to read: it
  /// ends as cancelled.
  std::atomic<bool> called_off{false};

  // Written by the handler while it runs, read by the broker thread.
  std::atomic<bool> cancelled{false};
  std::atomic<std::int64_t> extend_micros{0};  ///< lease asked for by extend_lease(), 0 = none
  std::mutex progress_mutex;
  std::optional<std::pair<double, std::string>> progress;  ///< not written yet

  /// How long the handler ran; empty if none did. One that was given up may still run: it counts until then.
  std::optional<Duration> run_time() const {
    if (task == nullptr) return std::nullopt;
    if (stage == Stage::finished)
      return ended > started ? std::optional(duration_cast<Duration>(ended - started)) : std::nullopt;
    if (stage == Stage::abandoned && hard_deadline) return duration_cast<Duration>(*hard_deadline - started);
    return std::nullopt;
  }

  /// Moves on from `from`; false if the other side was first.
  bool advance(Stage from, Stage to) { return stage.compare_exchange_strong(from, to); }
  /// No executor will have it. For who took it out of the line, or never put it there.
  void give_back() {
    stage = Stage::given_back;
    returned = true;
  }
};

}  // namespace stem
