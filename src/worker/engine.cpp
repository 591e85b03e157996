#include "worker/engine.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <set>

#include "core/log_scope.hpp"
#include "core/name.hpp"
#include "worker/control_desk.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long outcomes may gather while executors still have jobs at hand: the price of a larger batch in
/// latency.
constexpr Duration linger = milliseconds{2};
/// Jobs are leased ahead for this long a stretch of work, where that is more than the prefetch multiplier
/// asks for.
constexpr Duration ahead_for = milliseconds{20};
constexpr Duration sweep_every = std::chrono::minutes{5};

/// What a job that no executor has read is for, or nothing.
std::string task_of(const Delivery& delivery) {
  try {
    return envelope_from_wire(delivery.wire).name;
  } catch (const Error&) {
    return {};
  }
}

/// A record that cannot be read is overwritten.
bool is_final_record(const std::string& wire) {
  try {
    return is_final(result_from_wire(wire).state);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Engine::Engine(EngineOptions options, const Registry& tasks, const Storage& storage, const Clock& clock)
    : options_(std::move(options)),
      storage_(storage),
      clock_(clock),
      shared_{tasks,
              clock,
              options_.rules,
              options_.signer,
              options_.soft_time_limit,
              options_.hard_time_limit,
              {},
              {},
              [this] { wake_.set(); }},
      link_(clock, [this] { announce(true); }),
      queues_(options_.queues),
      desk_(std::make_unique<ControlDesk>(*this, options_, tasks, storage_, clock)) {}

Engine::~Engine() {
  halt();
  if (broker_thread_.joinable()) broker_thread_.join();
  work_.close();
  for (auto& executor : executors_) executor.join();
}

void Engine::start() {
  const auto now = clock_.steady();
  ahead_ = base();
  loop_turned_ = now.time_since_epoch().count();
  next_sweep_ = now + seconds{30};
  broker_fd_ =
      storage_.broker->wake_fd();  // before the first fetch, so that nothing published after it is missed
  for (int i = 0; i < options_.concurrency; ++i) executors_.emplace_back([this] { executor_loop(); });
  broker_thread_ = std::thread([this] { broker_loop(); });
}

void Engine::enter(Phase phase) {
  // A stop only ever gets harder.
  for (auto before = phase_.load(); before < phase && !phase_.compare_exchange_weak(before, phase);) {
  }
  wake_.set();
}

void Engine::quiet() {
  enter(Phase::quiet);
}

void Engine::cancel() {
  shared_.stopping = true;
  enter(Phase::cancelling);
}

void Engine::halt() {
  shared_.stopping = true;
  enter(Phase::halted);
}

void Engine::serve(std::vector<std::string> queues) {
  {
    const std::lock_guard lock(queues_mutex_);
    queues_ = std::move(queues);
  }
  relook_ = true;
  wake_.set();
}

std::vector<std::string> Engine::queues() const {
  const std::lock_guard lock(queues_mutex_);
  return queues_;
}

std::vector<std::string> Engine::paused() const {
  const std::lock_guard lock(queues_mutex_);
  std::vector<std::string> paused;
  std::copy_if(queues_.begin(), queues_.end(), std::back_inserter(paused), [&](const auto& queue) { return paused_.contains(queue); });
  return paused;
}

void Engine::pause(const std::vector<std::string>& queues) {
  {
    std::set<std::string> paused(queues.begin(), queues.end());
    const std::lock_guard lock(queues_mutex_);
    if (paused == paused_) return;
    paused_.swap(paused);
  }
  look_ = true;
  for (auto* job : take_out([&](const LeasedJob& waiting) {
         return std::find(queues.begin(), queues.end(), waiting.delivery.queue) != queues.end();
       }))
    release(*job);
  announce(true);
}

bool Engine::tell_to_end(StopMode mode) {
  int before = told_to_end_;
  while (before < static_cast<int>(mode) && !told_to_end_.compare_exchange_weak(before, static_cast<int>(mode))) {
  }
  announce(true);
  return before < 0;
}

std::optional<StopMode> Engine::told_to_end() const {
  const int mode = told_to_end_;
  return mode < 0 ? std::nullopt : std::optional(static_cast<StopMode>(mode));
}

std::vector<HeldJob> Engine::held() const {
  std::vector<HeldJob> held;
  for (const auto& job : jobs_) {
    if (job->decided) continue;
    const auto stage = job->stage.load();
    HeldJob one{.id = job->delivery.id, .task = {}, .queue = job->delivery.queue, .attempt = job->delivery.attempt};
    if (stage == LeasedJob::Stage::queued) {
      one.task = task_of(job->delivery);
    } else {
      one.task = job->envelope.name;
      one.running = true;
      one.cancelled = job->cancelled;
      one.started_at = job->started_at;
      one.runtime = duration_cast<Duration>(clock_.steady() - job->started);
    }
    held.push_back(std::move(one));
  }
  return held;
}

bool Engine::revoke(const Revocation& order) {
  for (auto* job : take_out([&](const LeasedJob& waiting) { return waiting.delivery.id == order.job && !waiting.decided; })) {
    job->revoked = std::make_unique<Revocation>(order);
    end_revoked(*job);
  }
  bool runs = false;
  for (auto& job : jobs_) {
    if (job->delivery.id != order.job || job->decided) continue;
    runs = true;
    if (!order.terminate) continue;
    job->revoked = std::make_unique<Revocation>(order);
    job->cancelled = true;
  }
  return runs;
}

/// Settles a job that was revoked.
void Engine::end_revoked(LeasedJob& job) {
  const bool begun = job.stage != LeasedJob::Stage::given_back;
  const auto task = begun ? job.envelope.name : task_of(job.delivery);
  const LogScope scope(job.delivery.id, task, job.delivery.queue, job.delivery.attempt);
  spdlog::info("cancelled: revoked{}{}", job.revoked->requester.empty() ? "" : " by " + printable(job.revoked->requester),
               job.revoked->reason.empty() ? "" : ": " + printable(job.revoked->reason));
  decide(job, settle_cancelled(job.delivery, task, *job.revoked,
                               {begun ? std::optional(job.started_at) : std::nullopt, clock_.wall()}, options_.rules));
}

/// Takes jobs that no executor has begun out of the line, those that `goes` names; the others keep their order.
std::vector<LeasedJob*> Engine::take_out(const std::function<bool(const LeasedJob&)>& goes) {
  auto waiting = work_.drain();
  const auto first = std::stable_partition(waiting.begin(), waiting.end(), [&](const LeasedJob* job) { return !goes(*job); });
  std::vector<LeasedJob*> out(first, waiting.end());
  waiting.erase(first, waiting.end());
  for (auto* job : out) {
    job->stage = LeasedJob::Stage::given_back;
    job->returned = true;
  }
  work_.put(waiting);
  return out;
}

void Engine::executor_loop() {
  pthread_setname_np(pthread_self(), "stem-executor");
  Executor executor(shared_);
  while (LeasedJob* job = work_.take()) {
    executor.run(*job);
    bool first;
    {
      const std::lock_guard lock(returned_mutex_);
      first = returned_.empty();
      returned_.push_back(job);
    }
    // While the broker thread lets outcomes gather, only a queue that runs dry is a reason to wake it.
    if (lingering_ ? work_.size() == 0 : first) wake_.set();
  }
}

void Engine::broker_loop() {
  pthread_setname_np(pthread_self(), "stem-broker");
  while (true) {
    turn();
    if (finished_) break;
    rest();
  }
  if (link_.connected()) desk_->leave();
  work_.close();
  announce(true);
}

void Engine::turn() {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  if (relook_.exchange(false)) look_ = true;
  if (phase_ == Phase::halted) link_.hurry();
  attend();
  collect();
  put_back();
  expire();
  write_progress();
  renew();
  exchange();
  forget();
  announce(false);
}

/// Orders to this worker. No job is taken before those that were given earlier are known.
void Engine::attend() {
  if (phase_ == Phase::halted) return;
  if (!desk_->begun())
    ask([&] { desk_->begin(); });
  else if (clock_.steady() >= desk_->next())
    ask([&] { desk_->turn(); });
}

/// Takes over what executors hand back.
void Engine::collect() {
  std::vector<LeasedJob*> returned;
  {
    const std::lock_guard lock(returned_mutex_);
    returned.swap(returned_);
  }
  if (returned.empty()) return;
  last_collected_ = clock_.steady();
  for (LeasedJob* job : returned) {
    job->returned = true;
    if (job->stage == LeasedJob::Stage::abandoned) {
      --shared_.counters.stuck;
    } else if (!job->decided && job->revoked) {
      end_revoked(*job);
    } else if (!job->decided) {
      decide(*job, std::move(*job->settlement));
    }
  }
  announcement_due_ = true;
}

/// What no handler has begun, and need not begin here: after quiet() all of it; else what was leased ahead
/// for a pace that the handlers no longer have, so that other workers may run it.
void Engine::put_back() {
  const bool stopping = phase_ != Phase::running;
  const auto keep = stopping ? 0 : base();
  if (!stopping && (work_.size() <= keep || clock_.steady() - last_collected_ < milliseconds{500})) return;
  auto waiting = work_.drain();
  if (waiting.size() > keep) {
    for (auto* job : std::vector(waiting.begin() + static_cast<std::ptrdiff_t>(keep), waiting.end())) {
      job->stage = LeasedJob::Stage::given_back;
      job->returned = true;
      release(*job);
    }
    waiting.resize(keep);
    ahead_ = base();
  }
  work_.put(waiting);

  if (phase_ != Phase::halted) return;
  for (auto& job : jobs_) {
    if (job->decided || !job->advance(LeasedJob::Stage::running, LeasedJob::Stage::abandoned)) continue;
    ++shared_.counters.stuck;
    release(*job);
  }
}

/// Attempts that have run past their hard time limit have failed, whatever their handlers still do.
void Engine::expire() {
  const auto now = clock_.steady();
  for (auto& job : jobs_) {
    if (job->stage != LeasedJob::Stage::running || job->decided || !job->hard_deadline ||
        now < *job->hard_deadline)
      continue;
    if (!job->advance(LeasedJob::Stage::running, LeasedJob::Stage::abandoned)) continue;
    ++shared_.counters.stuck;
    job->cancelled = true;
    const auto limit = duration_cast<Duration>(*job->hard_deadline - job->started);
    const LogScope scope(job->delivery.id, job->envelope.name, job->delivery.queue, job->delivery.attempt);
    spdlog::error(
        "ran past its hard time limit of {}; its handler cannot be stopped and holds one of {} executors",
        format_duration(limit), options_.concurrency);
    if (job->revoked) {
      end_revoked(*job);
      continue;
    }
    decide(*job,
           settle_failure(job->delivery, job->envelope, job->task->options,
                          {"hard-time-limit", "ran past its hard time limit of " + format_duration(limit)},
                          std::nullopt, {job->started_at, clock_.wall()}, options_.rules, 0.5));
    announce(true);
  }
}

void Engine::write_progress() {
  for (auto& job : jobs_) {
    if (job->stage != LeasedJob::Stage::running) continue;
    std::optional<std::pair<double, std::string>> progress;
    {
      const std::lock_guard lock(job->progress_mutex);
      progress.swap(job->progress);
    }
    if (!progress) continue;
    const bool written = ask([&] {
      // Only over a record that is not final: another worker may have taken the job over and ended it.
      auto& results = *storage_.results;
      const auto before = results.get(result_key(job->delivery.id));
      if (before && is_final_record(before->value)) return;
      results.compare_and_set(
          progress_record(job->delivery, job->envelope.name, {job->started_at, clock_.wall()},
                          progress->first, progress->second, options_.rules),
          before ? before->version : 0);
    });
    if (written) continue;
    const std::lock_guard lock(job->progress_mutex);
    if (!job->progress) job->progress = std::move(progress);
  }
}

/// Renews every lease well before it ends, and at once those for which a handler asked.
void Engine::renew() {
  const auto now = clock_.steady();
  std::vector<Receipt> receipts, lost;
  if (now >= next_renewal_)
    for (auto& job : jobs_)
      if (!job->settled) receipts.push_back(job->delivery.receipt);
  if (receipts.empty() || ask([&] { lost = storage_.broker->renew(receipts, options_.lease); })) {
    if (now >= next_renewal_) next_renewal_ = now + options_.lease / 3;
  }
  for (auto& job : jobs_) {
    const Duration asked{job->extend_micros.exchange(0)};
    if (asked == Duration::zero() || job->settled) continue;
    // A handler that says "still at it" in a tight loop costs no more than a few renewals a lease.
    if (asked <= options_.lease && now - job->renewed_at < options_.lease / 10) continue;
    const bool done = ask([&] {
      const auto gone =
          storage_.broker->renew(std::span(&job->delivery.receipt, 1), std::max(asked, options_.lease));
      lost.insert(lost.end(), gone.begin(), gone.end());
      job->renewed_at = now;
    });
    std::int64_t none = 0;
    if (!done) job->extend_micros.compare_exchange_strong(none, asked.count());
  }
  if (lost.empty()) return;
  // By lease, not by job: this process may hold the same job twice, once in vain.
  const std::set<Receipt> gone(lost.begin(), lost.end());
  for (auto& job : jobs_) {
    if (job->decided || !gone.contains(job->delivery.receipt)) continue;
    // Another worker has it. The handler is asked to stop; a job that waits is never begun.
    job->cancelled = true;
    if (job->advance(LeasedJob::Stage::queued, LeasedJob::Stage::given_back) ||
        job->advance(LeasedJob::Stage::running, LeasedJob::Stage::abandoned)) {
      if (job->stage == LeasedJob::Stage::abandoned) ++shared_.counters.stuck;
      job->decided = job->settled = true;
      ++shared_.counters.lost;
      spdlog::warn("the lease of {} was lost to another worker; raise STEM_VISIBILITY_TIMEOUT if this recurs",
                   job->delivery.id);
    }
  }
}

void Engine::decide(LeasedJob& job, Settlement settlement) {
  unsettled_.add(job, std::move(settlement), clock_.steady());
}

void Engine::release(LeasedJob& job) {
  decide(job, {job.delivery.receipt, Release{clock_.wall()}, std::nullopt});
}

std::size_t Engine::base() const {
  const auto free = std::max(0, options_.concurrency - shared_.counters.stuck);
  return static_cast<std::size_t>(free) * static_cast<std::size_t>(options_.prefetch_multiplier);
}

/// As many jobs as are missing to what should be at hand: base(), or more while handlers are quick.
Demand Engine::demand() const {
  Demand demand{queues(), 0, options_.lease, options_.node};
  {
    const std::lock_guard lock(queues_mutex_);
    std::erase_if(demand.queues, [&](const auto& queue) { return paused_.contains(queue); });
  }
  if (demand.queues.empty() || !desk_->begun()) return demand;
  // Not while a renewal is overdue: leases of ours may have ended, and we would be handed our own jobs again.
  const bool sure = jobs_.empty() || clock_.steady() < next_renewal_;
  const auto held = undecided();
  if (phase_ == Phase::running && look_ && sure && base() > 0 && ahead_ > held) demand.limit = ahead_ - held;
  return demand;
}

/// Jobs here whose end is not known: those that wait and those that run, but for handlers that run on in
/// vain.
std::size_t Engine::undecided() const {
  return static_cast<std::size_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return !job->decided; }));
}

bool Engine::lingers(SteadyTime now) const {
  return phase_ == Phase::running && work_.size() > ahead_ / 2 && now < unsettled_.since() + linger;
}

/// One round trip: ends leases, takes new ones.
void Engine::exchange() {
  const auto now = clock_.steady();
  if (now < link_.next_try()) return;
  auto wanted = demand();
  const bool hurry = wanted.limit > ahead_ / 2 || (wanted.limit > 0 && work_.size() == 0);
  if (unsettled_.empty() ? !hurry : lingers(now)) return;

  // The handlers' pace since the last exchange says how far ahead to lease.
  if (!unsettled_.empty()) {
    const auto passed = std::max(duration_cast<Duration>(now - last_exchange_), Duration{milliseconds{1}});
    const auto pace = unsettled_.size() * static_cast<std::size_t>(ahead_for / Duration{1}) /
                      static_cast<std::size_t>(passed.count());
    ahead_ = std::clamp(pace, base(), std::max(base(), std::min(ahead_ * 2, options_.most_ahead)));
  }
  last_exchange_ = now;

  const bool ok = ask([&] {
    if (!storage_.broker->keeps_records_of(*storage_.results))
      unsettled_.write_records(storage_, options_.lease);
    auto answer = storage_.broker->exchange(unsettled_.settlements(), wanted);
    if (!unsettled_.empty()) announcement_due_ = true;
    unsettled_.taken(answer.lost);
    const bool full = answer.deliveries.size() == wanted.limit;
    deliver(std::move(answer.deliveries));
    if (wanted.limit > 0 && !full) {
      look_ = false;
      next_look_ = clock_.steady() + recheck;  // stays if the question below fails
      if (const auto due = storage_.broker->next_due(wanted.queues))
        next_look_ = clock_.steady() +
                     std::clamp(duration_cast<Duration>(*due - clock_.wall()), Duration::zero(), recheck);
    }
  });
  // Told to end now, with a broker that does not answer: the leases will run out, nothing is lost.
  if (!ok && phase_ == Phase::halted) unsettled_.drop();
  if (ok && now >= next_sweep_) {
    // A little at a time, between other work.
    std::size_t swept = 0;
    ask([&] { swept = storage_.results->sweep(); });
    next_sweep_ = now + (swept > 0 ? milliseconds{100} : duration_cast<milliseconds>(sweep_every));
  }
}

void Engine::deliver(std::vector<Delivery> deliveries) {
  if (deliveries.empty()) return;
  const auto now = clock_.steady();
  if (jobs_.empty()) {
    next_renewal_ = now + options_.lease / 3;
    last_collected_ = now;
  }
  bool suspected = std::any_of(jobs_.begin(), jobs_.end(),
                               [&](const auto& job) { return !job->decided && is_suspect(job->delivery); });
  std::vector<LeasedJob*> fresh;
  fresh.reserve(deliveries.size());
  for (auto& delivery : deliveries) {
    const bool suspect = is_suspect(delivery);
    jobs_.push_back(std::make_unique<LeasedJob>(std::move(delivery)));
    auto& job = *jobs_.back();
    job.renewed_at = now;
    if (const auto* order = desk_->revoked(job.delivery.id)) {
      job.stage = LeasedJob::Stage::given_back;
      job.returned = true;
      job.revoked = std::make_unique<Revocation>(*order);
      end_revoked(job);
      continue;
    }
    if (suspect && suspected) {
      job.stage = LeasedJob::Stage::given_back;
      job.returned = true;
      decide(job, {job.delivery.receipt, Release{clock_.wall() + seconds{1}}, std::nullopt});
    } else {
      fresh.push_back(&job);
    }
    suspected = suspected || suspect;
  }
  work_.put(fresh);
  announcement_due_ = true;
}

/// A job that has been handed out often without an end may be what ends its workers. One at a time is taken,
/// so that it goes to the dead-letter queue alone, and not its neighbours with it.
bool Engine::is_suspect(const Delivery& delivery) const {
  return options_.rules.max_deliveries > 0 && delivery.deliveries > options_.rules.max_deliveries / 2;
}

/// Jobs that are settled and that no executor has any more.
void Engine::forget() {
  std::erase_if(jobs_, [](const auto& job) { return job->settled && job->returned; });
  inflight_ = static_cast<int>(jobs_.size());
  if (phase_ == Phase::running || !unsettled_.empty()) return;
  // What is left may be handlers that run on after their job was settled without them: nothing to wait for.
  finished_ = std::all_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->settled; });
}

/// One conversation with the broker; see BrokerLink. If it can never be had again, the engine ends.
bool Engine::ask(const std::function<void()>& call) {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  if (link_.ask(call)) return true;
  desk_->doubt();
  if (link_.broken() && phase_ != Phase::halted) {
    halt();
    unsettled_.drop();
    for (auto& job : jobs_) job->settled = true;
  }
  return false;
}

/// Wakes the main loop: at once, or when something changed and the last time is a second ago.
void Engine::announce(bool at_once) {
  const auto now = clock_.steady();
  const int busy = shared_.counters.busy;
  if (busy != announced_busy_) announcement_due_ = true;
  if (!at_once && (!announcement_due_ || now < next_announcement_)) return;
  announcement_due_ = false;
  announced_busy_ = busy;
  next_announcement_ = now + seconds{1};
  events_.set();
}

void Engine::rest() {
  const auto now = clock_.steady();
  auto until = now + recheck;
  const auto at_most = [&](SteadyTime time) { until = std::min(until, time); };

  const auto next_try = link_.next_try();
  const bool lingering = !unsettled_.empty() && next_try <= now && lingers(now);
  if (lingering) at_most(unsettled_.since() + linger);
  if (!unsettled_.empty() && !lingering) at_most(std::max(next_try, now));
  if (!jobs_.empty()) {
    at_most(std::max(next_renewal_, next_try));
    at_most(now + seconds{1});
    for (const auto& job : jobs_)
      if (job->stage == LeasedJob::Stage::running && !job->decided && job->hard_deadline)
        at_most(*job->hard_deadline);
  }
  if (phase_ == Phase::running && base() > 0) {
    if (look_ && demand().limit > ahead_ / 2) at_most(next_try);
    if (!look_ && next_look_) at_most(*next_look_);
  }
  if (announcement_due_) at_most(next_announcement_);
  if (phase_ != Phase::halted) at_most(std::max(desk_->next(), next_try));

  // An outcome that came while this thread was busy must not wait for the next one.
  lingering_ = lingering;
  pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {broker_fd_, POLLIN, 0}};
  if (until > now) {
    const auto length = std::chrono::duration_cast<std::chrono::nanoseconds>(until - now);
    const timespec timeout{length.count() / 1000000000, length.count() % 1000000000};
    ppoll(fds, fds[1].fd < 0 ? 1 : 2, &timeout, nullptr);
  } else {
    poll(fds, fds[1].fd < 0 ? 1 : 2, 0);
  }
  lingering_ = false;
  if (fds[0].revents) wake_.clear();
  if (fds[1].revents) {
    // Not asked as the others are: an adapter that cannot reach its server wakes us, too, and that is no answer.
    Wake wake{.jobs = true, .broadcasts = true};
    try {
      wake = storage_.broker->clear_wake();
    } catch (const std::exception&) {
      // The next call tells what is wrong.
    }
    look_ = look_ || wake.jobs;
    if (wake.broadcasts) desk_->wake();
  }
  if (next_look_ && clock_.steady() >= *next_look_) {
    next_look_.reset();
    look_ = true;
  }
}

}  // namespace stem
