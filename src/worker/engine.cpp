#include "worker/engine.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "worker/control_desk.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// How long outcomes may gather while executors still have jobs at hand: the price of a larger batch in
/// latency.
constexpr Duration linger = milliseconds{2};
constexpr Duration sweep_every = std::chrono::minutes{5};

}  // namespace

Engine::Engine(EngineOptions options, const Registry& tasks, const Storage& storage, const Clock& clock,
               ForkServer* forks)
    : options_(std::move(options)),
      storage_(storage),
      clock_(clock),
      shared_{tasks,
              clock,
              options_.rules,
              options_.signer,
              options_.soft_time_limit,
              options_.hard_time_limit,
              JobInputs{storage_},
              {*storage_.results, clock_, options_.name_space},
              {},
              {},
              [this] { wake_.set(); },
              options_.tracer.get(),
              options_.name_space},
      children_(forks ? std::make_unique<ChildPool>(
                            *forks,
                            ChildPool::Rules{options_.max_tasks_per_child, options_.max_memory_per_child},
                            clock_, shared_.counters, wake_.fd())
                      : nullptr),
      link_(clock, [this] { announce(true); }),
      subscriptions_(options_.queues, options_.broadcasts),
      queue_watch_(clock, options_.heartbeat),
      desk_(std::make_unique<ControlDesk>(*this, options_, tasks, storage_, clock)),
      listener_(*storage_.broker, subscriptions_, clock),
      held_(options_, shared_, clock, wake_),
      renewal_(*storage_.broker, held_, shared_.series, clock, options_.lease,
               [this](const auto& call) { return ask(call); }),
      progress_(*storage_.results, held_, options_.rules, clock,
                [this](const auto& call) { return ask(call); }),
      canvas_(storage_, clock_, options_.signer, options_.rules.result_ttl, options_.lease),
      prefetch_(options_, shared_.counters) {
  canvas_.on_chord = [this](const std::string& task) { shared_.series.count_chord(task); };
  shared_.children = children_.get();
}

Engine::~Engine() {
  halt();
  if (broker_thread_.joinable()) broker_thread_.join();
}

void Engine::start() {
  const auto now = clock_.steady();
  prefetch_.calm();
  loop_turned_ = now.time_since_epoch().count();
  next_sweep_ = now + seconds{30};
  broker_fd_ =
      storage_.broker->wake_fd();  // before the first fetch, so that nothing published after it is missed
  held_.start();
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

void Engine::serve(std::vector<std::string> queues, std::vector<std::string> broadcasts) {
  subscriptions_.serve(std::move(queues), std::move(broadcasts));
  relook_ = true;
  wake_.set();
}

void Engine::pause(const std::vector<std::string>& queues) {
  if (!subscriptions_.pause(queues)) return;
  look_ = true;
  held_.put_back(queues);
  announce(true);
}

bool Engine::tell_to_end(StopMode mode) {
  int before = told_to_end_;
  while (before < static_cast<int>(mode) &&
         !told_to_end_.compare_exchange_weak(before, static_cast<int>(mode))) {
  }
  announce(true);
  return before < 0;
}

std::optional<StopMode> Engine::told_to_end() const {
  const int mode = told_to_end_;
  return mode < 0 ? std::nullopt : std::optional(static_cast<StopMode>(mode));
}

void Engine::broker_loop() {
  pthread_setname_np(pthread_self(), "stem-broker");
  while (true) {
    turn();
    if (finished_) break;
    rest();
  }
  if (link_.connected()) desk_->leave();
  // Nobody waits any more for what handlers still do: their jobs were lost to other workers, or put back.
  if (children_) children_->look(true, true);
  held_.pool().close();
  if (children_) children_->close();
  announce(true);
}

void Engine::turn() {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  if (relook_.exchange(false)) {
    look_ = true;
    listener_.wake();
  }
  if (phase_ == Phase::halted) link_.hurry();
  attend();
  if (held_.collect()) announcement_due_ = true;
  put_back();
  if (held_.expire()) announce(true);
  watch_children();
  progress_.write();
  renewal_.turn();
  exchange();
  listen();
  tidy();
  forget();
  announce(false);
}

/// Orders to this worker. No job is taken before those that were given earlier are known.
void Engine::attend() {
  if (phase_ == Phase::halted) return;
  if (!desk_->begun())
    ask([&] {
      listener_.begin();
      desk_->begin();
    });
  else if (clock_.steady() >= desk_->next())
    ask([&] { desk_->turn(); });
  if (desk_->begun() && link_.connected() && queue_watch_.due()) {
    loop_turned_ = clock_.steady().time_since_epoch().count();
    queue_watch_.look(*storage_.broker, subscriptions_.queues());
  }
}

/// What no handler has begun, and need not begin here: after quiet() all of it; else what was leased ahead
/// for a pace that the handlers no longer have, so that other workers may run it.
void Engine::put_back() {
  if (phase_ != Phase::running) {
    held_.clear();
    if (phase_ == Phase::halted) held_.abandon();
    return;
  }
  const auto least = prefetch_.least(), undecided = held_.undecided();
  if (undecided <= least || clock_.steady() - held_.last_collected() < milliseconds{500}) return;
  const auto running = undecided - std::min(undecided, held_.pool().waiting());
  if (held_.put_back(least - std::min(least, running))) prefetch_.calm();
}

/// Handlers in children are told what those on threads see for themselves.
void Engine::watch_children() {
  if (!children_) return;
  children_->look(shared_.stopping, phase_ == Phase::halted);
  if (!children_->lost() || phase_ == Phase::halted) return;
  spdlog::critical(
      "the process that starts the pool's children has ended, and with it all of them; this worker ends, "
      "too");
  halt();
}

/// As many jobs as are missing to what should be at hand.
Demand Engine::demand() const {
  Demand demand{subscriptions_.open(), 0, options_.lease, options_.node};
  if (demand.queues.empty() || !desk_->begun()) return demand;
  // Not while a renewal is overdue: leases of ours may have ended, and we would be handed our own jobs again.
  const bool sure = held_.all().empty() || clock_.steady() < renewal_.next();
  if (look_ && sure) demand.limit = room();
  return demand;
}

/// How many more jobs may be at hand.
std::size_t Engine::room() const {
  if (phase_ != Phase::running || prefetch_.least() == 0) return 0;
  const auto undecided = held_.undecided();
  const auto most = prefetch_.now();  // once: other threads count
  return most > undecided ? most - undecided : 0;
}

bool Engine::lingers(SteadyTime now) const {
  return phase_ == Phase::running && held_.pool().waiting() > prefetch_.now() / 2 &&
         now < held_.unsettled().since() + linger;
}

/// One round trip: ends leases, takes new ones.
void Engine::exchange() {
  const auto now = clock_.steady();
  if (now < link_.next_try()) return;
  auto& unsettled = held_.unsettled();
  auto wanted = demand();
  const bool hurry = wanted.limit > prefetch_.now() / 2 || (wanted.limit > 0 && held_.pool().waiting() == 0);
  if (unsettled.empty() ? !hurry : lingers(now)) return;

  // The handlers' pace since the last exchange says how far ahead to lease.
  if (!unsettled.empty())
    prefetch_.follow(unsettled.begun(), duration_cast<Duration>(now - last_exchange_), last_answer_);
  last_exchange_ = now;

  const bool ok = ask([&] {
    canvas_.enter(unsettled);
    if (!storage_.broker->keeps_records_of(*storage_.results))
      unsettled.write_records(storage_, options_.lease);
    auto answer = storage_.broker->exchange(unsettled.settlements(), wanted);
    if (!unsettled.empty()) announcement_due_ = true;
    unsettled.taken(answer.lost);
    canvas_.settled(answer.lost);
    const bool full = answer.deliveries.size() == wanted.limit;
    deliver(std::move(answer.deliveries), true);
    if (wanted.limit > 0 && !full) {
      look_ = false;
      next_look_ = clock_.steady() + recheck;  // stays if the question below fails
      if (const auto due = storage_.broker->next_due(wanted.queues))
        next_look_ = clock_.steady() +
                     std::clamp(duration_cast<Duration>(*due - clock_.wall()), Duration::zero(), recheck);
    }
  });
  last_answer_ = duration_cast<Duration>(clock_.steady() - now);
  // Told to end now, with a broker that does not answer: the leases will run out, nothing is lost.
  if (!ok && phase_ == Phase::halted) unsettled.drop();
  if (ok && now >= next_sweep_) {
    // A little at a time, between other work.
    std::size_t swept = 0;
    ask([&] { swept = storage_.results->sweep(); });
    next_sweep_ = now + (swept > 0 ? milliseconds{100} : duration_cast<milliseconds>(sweep_every));
  }
}

/// Some of what nobody will read any more, between other work.
void Engine::tidy() {
  if (canvas_.untidy()) ask([&] { canvas_.tidy(); });
}

/// What was said to everyone: not faster than it is run.
void Engine::listen() {
  if (!desk_->begun() || clock_.steady() < std::max(listener_.next(), link_.next_try())) return;
  if (const auto limit = room(); limit > 0) ask([&] { deliver(listener_.hear(limit), false); });
}

void Engine::deliver(std::vector<Delivery> deliveries, bool leased) {
  if (deliveries.empty()) return;
  if (held_.all().empty()) renewal_.begin();
  held_.take(std::move(deliveries), leased, [this](const std::string& id) { return desk_->revoked(id); });
  announcement_due_ = true;
}

/// Jobs that are settled and that no executor has any more.
void Engine::forget() {
  held_.forget();
  inflight_ = static_cast<int>(held_.all().size());
  // What is left may be handlers that run on after their job was settled without them: nothing to wait for.
  if (phase_ != Phase::running && held_.unsettled().empty()) finished_ = held_.all_settled();
}

/// One conversation with the broker; see BrokerLink. If it can never be had again, the engine ends.
bool Engine::ask(const std::function<void()>& call) {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  if (link_.ask(call)) return true;
  desk_->doubt();
  if (link_.broken() && phase_ != Phase::halted) {
    halt();
    held_.give_up();
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
  const auto& unsettled = held_.unsettled();
  const bool lingering = !unsettled.empty() && next_try <= now && lingers(now);
  if (lingering) at_most(unsettled.since() + linger);
  if (!unsettled.empty() && !lingering) at_most(std::max(next_try, now));
  if (!held_.all().empty()) {
    at_most(std::max(renewal_.next(), next_try));
    at_most(now + seconds{1});
    if (const auto deadline = held_.next_deadline()) at_most(*deadline);
  }
  if (phase_ == Phase::running && prefetch_.least() > 0) {
    if (look_ && demand().limit > prefetch_.now() / 2) at_most(next_try);
    if (room() > 0) at_most(std::max(listener_.next(), next_try));
    if (!look_ && next_look_) at_most(*next_look_);
  }
  if (canvas_.untidy()) at_most(std::max(next_try, now));
  if (announcement_due_) at_most(next_announcement_);
  if (phase_ != Phase::halted) at_most(std::max(desk_->next(), next_try));

  // An outcome that came while this thread was busy must not wait for the next one.
  held_.pool().gather(lingering);
  pollfd fds[] = {{wake_.fd(), POLLIN, 0}, {broker_fd_, POLLIN, 0}};
  if (until > now) {
    const auto length = std::chrono::duration_cast<std::chrono::nanoseconds>(until - now);
    const timespec timeout{length.count() / 1000000000, length.count() % 1000000000};
    ppoll(fds, fds[1].fd < 0 ? 1 : 2, &timeout, nullptr);
  } else {
    poll(fds, fds[1].fd < 0 ? 1 : 2, 0);
  }
  held_.pool().gather(false);
  if (fds[0].revents) wake_.clear();
  if (fds[1].revents) {
    // Not asked as the others are: an adapter that cannot reach its server wakes us, too, and that is no
    // answer.
    Wake wake{.jobs = true, .broadcasts = true};
    try {
      wake = storage_.broker->clear_wake();
    } catch (const std::exception&) {
      // The next call tells what is wrong.
    }
    look_ = look_ || wake.jobs;
    if (wake.broadcasts) {
      desk_->wake();
      listener_.wake();
    }
  }
  if (next_look_ && clock_.steady() >= *next_look_) {
    next_look_.reset();
    look_ = true;
  }
}

}  // namespace stem
