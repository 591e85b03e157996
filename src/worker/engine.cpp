#include "worker/engine.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <unordered_set>

#include "core/log_scope.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long outcomes may gather while executors still have jobs at hand: the price of a larger batch in latency.
constexpr Duration linger = milliseconds{2};
/// Jobs are leased ahead for this long a stretch of work, where that is more than the prefetch multiplier asks for.
constexpr Duration ahead_for = milliseconds{20};
constexpr Duration sweep_every = std::chrono::minutes{5};

std::int64_t key(const Receipt& receipt) { return receipt.job; }

}  // namespace

EngineOptions engine_options(const Config& config) {
  EngineOptions options;
  options.node = config.node.empty() ? "worker" : config.node;
  options.queues = config.queues.empty() ? std::vector{config.default_queue} : config.queues;
  options.concurrency =
      config.concurrency > 0 ? config.concurrency : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  options.prefetch_multiplier = config.prefetch_multiplier;
  options.lease = config.lease;
  options.soft_time_limit = config.soft_time_limit;
  options.hard_time_limit = config.hard_time_limit;
  options.rules = {options.node, config.max_deliveries, config.retry, config.result_ttl};
  return options;
}

Engine::Engine(EngineOptions options, const Registry& tasks, const Storage& storage, const Clock& clock)
    : options_(std::move(options)),
      storage_(storage),
      clock_(clock),
      shared_{tasks, clock, options_.rules, options_.soft_time_limit, options_.hard_time_limit, {}, {}, [this] { wake_.set(); }},
      queues_(options_.queues) {}

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
  for (int i = 0; i < options_.concurrency; ++i) executors_.emplace_back([this] { executor_loop(); });
  broker_thread_ = std::thread([this] { broker_loop(); });
}

void Engine::enter(Phase phase) {
  // A stop only ever gets harder.
  for (auto before = phase_.load(); before < phase && !phase_.compare_exchange_weak(before, phase);) {
  }
  wake_.set();
}

void Engine::quiet() { enter(Phase::quiet); }

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

std::optional<SteadyTime> Engine::broker_answered() const {
  const auto at = broker_answered_.load();
  return at ? std::optional(SteadyTime{SteadyTime::duration{at}}) : std::nullopt;
}

std::optional<Error> Engine::trouble() const {
  const std::lock_guard lock(trouble_mutex_);
  return trouble_;
}

void Engine::executor_loop() {
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
  work_.close();
  announce(true);
}

void Engine::turn() {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  if (relook_.exchange(false)) look_ = true;
  collect();
  put_back();
  expire();
  write_progress();
  renew();
  exchange();
  forget();
  announce(false);
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
    } else if (!job->decided) {
      decide(*job, std::move(*job->settlement));
    }
  }
  announcement_due_ = true;
}

/// What no handler has begun, and need not begin here: after quiet() all of it; else what was leased ahead for a pace
/// that the handlers no longer have, so that other workers may run it.
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
    if (job->stage != LeasedJob::Stage::running || job->decided || !job->hard_deadline || now < *job->hard_deadline) continue;
    if (!job->advance(LeasedJob::Stage::running, LeasedJob::Stage::abandoned)) continue;
    ++shared_.counters.stuck;
    job->cancelled = true;
    const auto limit = duration_cast<Duration>(*job->hard_deadline - job->started);
    const LogScope scope(job->delivery.id, job->envelope.name, job->delivery.queue, job->delivery.attempt);
    spdlog::error("ran past its hard time limit of {}; its handler cannot be stopped and holds one of {} executors",
                  format_duration(limit), options_.concurrency);
    decide(*job, settle_failure(job->delivery, job->envelope, job->task->options,
                                {"hard-time-limit", "ran past its hard time limit of " + format_duration(limit)}, std::nullopt,
                                {job->started_at, clock_.wall()}, options_.rules, 0.5));
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
    ask_broker([&] {
      // Only over a record that is not final: another worker may have taken the job over and ended it.
      auto& results = *storage_.results;
      const auto before = results.get(result_key(job->delivery.id));
      if (before && is_final(result_from_wire(before->value).state)) return;
      results.compare_and_set(progress_record(job->delivery, job->envelope.name, {job->started_at, clock_.wall()},
                                              progress->first, progress->second, options_.rules),
                              before ? before->version : 0);
    });
  }
}

/// Renews every lease well before it ends, and at once those for which a handler asked.
void Engine::renew() {
  const auto now = clock_.steady();
  std::vector<Receipt> receipts;
  if (now >= next_renewal_) {
    next_renewal_ = now + options_.lease / 3;
    for (auto& job : jobs_)
      if (!job->settled) receipts.push_back(job->delivery.receipt);
  }
  std::vector<Receipt> lost;
  if (!receipts.empty()) ask_broker([&] { lost = storage_.broker->renew(receipts, options_.lease); });
  for (auto& job : jobs_) {
    const Duration asked{job->extend_micros.exchange(0)};
    if (asked == Duration::zero() || job->settled) continue;
    ask_broker([&] {
      const auto gone = storage_.broker->renew(std::span(&job->delivery.receipt, 1), std::max(asked, options_.lease));
      lost.insert(lost.end(), gone.begin(), gone.end());
    });
  }
  if (lost.empty()) return;
  std::unordered_set<std::int64_t> gone;
  for (const auto& receipt : lost) gone.insert(key(receipt));
  for (auto& job : jobs_) {
    if (job->decided || !gone.contains(key(job->delivery.receipt))) continue;
    // Another worker has it. The handler is asked to stop; a job that waits is never begun.
    job->cancelled = true;
    if (job->advance(LeasedJob::Stage::queued, LeasedJob::Stage::given_back) || job->advance(LeasedJob::Stage::running, LeasedJob::Stage::abandoned)) {
      if (job->stage == LeasedJob::Stage::abandoned) ++shared_.counters.stuck;
      job->decided = job->settled = true;
      ++shared_.counters.lost;
      spdlog::warn("the lease of {} was lost to another worker; raise STEM_VISIBILITY_TIMEOUT if this recurs", job->delivery.id);
    }
  }
}

void Engine::decide(LeasedJob& job, Settlement settlement) {
  if (unsettled_.empty()) first_unsettled_ = clock_.steady();
  job.decided = true;
  unsettled_.push_back(std::move(settlement));
  unsettled_jobs_.push_back(&job);
}

void Engine::release(LeasedJob& job) { decide(job, {job.delivery.receipt, Release{clock_.wall()}, std::nullopt}); }

std::size_t Engine::base() const {
  const auto free = std::max(0, options_.concurrency - shared_.counters.stuck);
  return static_cast<std::size_t>(free) * static_cast<std::size_t>(options_.prefetch_multiplier);
}

/// As many jobs as are missing to what should be at hand: base(), or more while handlers are quick.
Demand Engine::demand() const {
  Demand demand{queues(), 0, options_.lease, options_.node};
  const auto undecided = jobs_.size() - std::min(jobs_.size(), unsettled_.size());
  if (phase_ == Phase::running && look_ && base() > 0 && ahead_ > undecided) demand.limit = ahead_ - undecided;
  return demand;
}

bool Engine::lingers(SteadyTime now) const {
  return phase_ == Phase::running && work_.size() > ahead_ / 2 && now < first_unsettled_ + linger;
}

/// One round trip: ends leases, takes new ones.
void Engine::exchange() {
  const auto now = clock_.steady();
  if (now < next_try_) return;
  auto wanted = demand();
  const bool hurry = wanted.limit > ahead_ / 2 || (wanted.limit > 0 && work_.size() == 0);
  if (unsettled_.empty() ? !hurry : lingers(now)) return;

  // The handlers' pace since the last exchange says how far ahead to lease.
  if (!unsettled_.empty()) {
    const auto passed = std::max(duration_cast<Duration>(now - last_exchange_), Duration{milliseconds{1}});
    const auto pace = unsettled_.size() * static_cast<std::size_t>(ahead_for / Duration{1}) / static_cast<std::size_t>(passed.count());
    ahead_ = std::clamp(pace, base(), std::max(base(), std::min(ahead_ * 2, options_.most_ahead)));
  }
  last_exchange_ = now;

  const bool ok = ask_broker([&] {
    if (!storage_.broker->keeps_records_of(*storage_.results)) {
      // Two systems: the record first, so that an acknowledged job always has one.
      std::vector<StoreWrite> records;
      for (auto& settlement : unsettled_)
        if (settlement.record) records.push_back(*settlement.record);
      if (!records.empty()) storage_.results->put(records);
      for (auto& settlement : unsettled_) settlement.record.reset();
    }
    auto answer = storage_.broker->exchange(unsettled_, wanted);
    accept(answer.lost);
    const bool full = answer.deliveries.size() == wanted.limit;
    deliver(std::move(answer.deliveries));
    if (wanted.limit > 0 && !full) {
      look_ = false;
      const auto due = storage_.broker->next_due(wanted.queues);
      next_look_ = clock_.steady() + (due ? std::clamp(duration_cast<Duration>(*due - clock_.wall()), Duration::zero(), recheck) : recheck);
    }
  });
  if (ok && now >= next_sweep_) {
    next_sweep_ = now + sweep_every;
    ask_broker([&] { storage_.results->sweep(); });
  }
  if (!ok && phase_ == Phase::halted) {
    // Told to end now, with a broker that does not answer: the leases will run out, nothing is lost.
    for (auto* job : unsettled_jobs_) job->settled = true;
    unsettled_.clear();
    unsettled_jobs_.clear();
  }
}

/// The broker has taken all settlements but those of lost leases.
void Engine::accept(const std::vector<Receipt>& lost) {
  std::unordered_set<std::int64_t> refused;
  for (const auto& receipt : lost) refused.insert(key(receipt));
  for (std::size_t i = 0; i < unsettled_.size(); ++i) {
    unsettled_jobs_[i]->settled = true;
    auto& counters = shared_.counters;
    if (!refused.empty() && refused.contains(key(unsettled_[i].receipt))) {
      ++counters.lost;
      spdlog::warn("{} ended after its lease was lost to another worker; it may run twice", unsettled_jobs_[i]->delivery.id);
    } else if (std::holds_alternative<Ack>(unsettled_[i].disposition)) {
      ++counters.done;
    } else if (std::holds_alternative<RetryAt>(unsettled_[i].disposition)) {
      ++counters.retried;
    } else if (const auto* dead = std::get_if<DeadLetter>(&unsettled_[i].disposition)) {
      ++counters.failed;
      // Not the handler's thread, but of its job: whoever looks for the job in the journal finds this.
      const auto& job = *unsettled_jobs_[i];
      const LogScope scope(job.delivery.id, job.envelope.name, job.delivery.queue, job.delivery.attempt);
      spdlog::error("went to the dead-letter queue: {}: {}", dead->reason, dead->meta.value("error", ""));
    }
  }
  if (!unsettled_.empty()) announcement_due_ = true;
  unsettled_.clear();
  unsettled_jobs_.clear();
}

void Engine::deliver(std::vector<Delivery> deliveries) {
  if (deliveries.empty()) return;
  std::vector<LeasedJob*> fresh;
  fresh.reserve(deliveries.size());
  for (auto& delivery : deliveries) {
    jobs_.push_back(std::make_unique<LeasedJob>(std::move(delivery)));
    fresh.push_back(jobs_.back().get());
  }
  if (jobs_.size() == fresh.size()) {
    next_renewal_ = clock_.steady() + options_.lease / 3;
    last_collected_ = clock_.steady();
  }
  work_.put(fresh);
  announcement_due_ = true;
}

/// Jobs that are settled and that no executor has any more.
void Engine::forget() {
  std::erase_if(jobs_, [](const auto& job) { return job->settled && job->returned; });
  inflight_ = static_cast<int>(jobs_.size());
  if (phase_ == Phase::running || !unsettled_.empty()) return;
  // What is left may be handlers that run on after their job was settled without them: nothing to wait for.
  finished_ = std::all_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->settled; });
}

/// Runs one conversation with the broker. False if it failed in a way that may pass: then nothing was changed, and
/// the next try comes after a pause that grows. Other failures end the engine.
bool Engine::ask_broker(const std::function<void()>& call) {
  const auto note = [this](std::optional<Error> error) {
    const std::lock_guard lock(trouble_mutex_);
    trouble_ = std::move(error);
  };
  try {
    call();
    broker_answered_ = clock_.steady().time_since_epoch().count();
    if (broker_failures_ > 0) {
      spdlog::info("the broker answers again");
      broker_failures_ = 0;
      note(std::nullopt);
    }
    if (!connected_.exchange(true)) announce(true);
    return true;
  } catch (const Error& error) {
    connected_ = false;
    note(error);
    const bool passing = error.code() == Exit::unavailable || error.code() == Exit::try_again || error.code() == Exit::cannot_create;
    if (!passing) {
      spdlog::critical("{}", error.what());
      for (auto& job : jobs_) job->settled = true;
      unsettled_.clear();
      unsettled_jobs_.clear();
      halt();
      return false;
    }
    if (broker_failures_++ == 0) spdlog::error("{}; trying again", error.what());
    const auto pause = RetryPolicy{milliseconds{100}, seconds{5}}.delay(broker_failures_ - 1, 0.5);
    next_try_ = clock_.steady() + pause;
    announce(true);
    return false;
  }
}

/// Wakes the main loop: at once, or when something changed and the last time is a second ago.
void Engine::announce(bool at_once) {
  const auto now = clock_.steady();
  if (!at_once && (!announcement_due_ || now < next_announcement_)) return;
  announcement_due_ = false;
  next_announcement_ = now + seconds{1};
  events_.set();
}

void Engine::rest() {
  const auto now = clock_.steady();
  auto until = now + recheck;
  const auto at_most = [&](SteadyTime time) { until = std::min(until, time); };

  const bool lingering = !unsettled_.empty() && next_try_ <= now && lingers(now);
  if (lingering) at_most(first_unsettled_ + linger);
  if (!unsettled_.empty() && !lingering) at_most(std::max(next_try_, now));
  if (!jobs_.empty()) {
    at_most(next_renewal_);
    at_most(now + seconds{1});
    for (const auto& job : jobs_)
      if (job->stage == LeasedJob::Stage::running && !job->decided && job->hard_deadline) at_most(*job->hard_deadline);
  }
  if (phase_ == Phase::running && base() > 0) {
    if (look_ && demand().limit > ahead_ / 2) at_most(next_try_);
    if (!look_ && next_look_) at_most(*next_look_);
  }
  if (announcement_due_) at_most(next_announcement_);

  // An outcome that came while this thread was busy must not wait for the next one.
  lingering_ = lingering;
  pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {storage_.broker->wake_fd(), POLLIN, 0}};
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
    storage_.broker->clear_wake();
    look_ = true;
  }
  if (next_look_ && clock_.steady() >= *next_look_) {
    next_look_.reset();
    look_ = true;
  }
}

}  // namespace stem
