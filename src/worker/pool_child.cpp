#include "worker/pool_child.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>

#include <algorithm>
#include <stem/error.hpp>

#include "core/log_event.hpp"
#include "worker/child_job.hpp"
#include "worker/child_pool.hpp"
#include "worker/handler_failure.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

constexpr Duration shortest_pause = 100ms;
constexpr Duration longest_pause = 30s;
/// For a child to be ready, and for one that was killed to end: beyond this the machine hangs.
constexpr std::chrono::milliseconds patience = 30s;
/// A child that ended sooner than this, without a job, is taken for one that cannot live.
constexpr auto infancy = 5s;

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

/// How a process ended, as a clause: `was ended by SIGSEGV`.
std::string ending(int status) {
  return WIFSIGNALED(status) ? "was ended by " + signal_name(WTERMSIG(status))
                             : "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Json to_json(const std::vector<ChildView>& children) {
  Json list = Json::array();
  for (const auto& child : children)
    list.push_back({{"index", child.index},
                    {"pid", child.pid},
                    {"jobs", child.jobs},
                    {"memoryBytes", child.memory},
                    {"busy", child.busy}});
  return list;
}

bool PoolChild::has_ended() const {
  pollfd fd{process_.ended.get(), POLLIN, 0};
  return poll(&fd, 1, 0) > 0;
}

/// Lets the process go, whatever it does; one that waits for a job ends itself.
void PoolChild::let_go() {
  const std::lock_guard lock(mutex_);
  channel_ = {};
  process_ = {};
  jobs_ = memory_ = 0;
  greeted_ = false;
}

/// Asks the system for a process. False: not now; next_try_ says when.
bool PoolChild::start() {
  auto renewed = pool_.renewed_.load();
  std::string level;
  {
    const std::lock_guard lock(pool_.mutex_);
    level = pool_.log_level_;
  }
  try {
    auto process = pool_.forks_.start({index_, level}, pool_.wake_);
    channel_ = ChildChannel(std::move(process.socket));
    renewed_ = renewed;
    started_ = now();
    const std::lock_guard lock(mutex_);
    process_ = std::move(process);
    greeted_ = false;
    // Who closed the pool may have looked before there was a process to kill.
    if (pool_.closed_) ForkServer::signal(process_, SIGKILL);
    return true;
  } catch (const Error& error) {
    if (pool_.forks_.lost())
      pool_.lost_ = true;
    else
      failed_to_start(error.what());
    return false;
  }
}

/// The broker thread leases no more jobs than there are places for.
void PoolChild::can_start(bool can) {
  if (childless_ == !can) return;
  childless_ = !can;
  pool_.counters_.childless += can ? -1 : 1;
  pool_.nudge();
}

/// Says so, and waits longer each time.
void PoolChild::failed_to_start(const std::string& why) {
  can_start(false);
  const auto pause = std::min(longest_pause, shortest_pause * (1 << std::min(failures_, 10)));
  ++failures_;
  next_try_ = now() + pause;
  const LogEvent event(LogEvent::pool_cannot_start);
  spdlog::error("process {} of the pool cannot start: {}; the next try is in {}", index_, why,
                format_duration(pause));
}

/// Waits for the first word of a process. False: it ended instead, or will never be ready.
bool PoolChild::greet() {
  if (greeted_) return true;
  std::string why;
  try {
    ChildFrame frame;
    const auto event = channel_.receive(frame, process_.ended.get(), now() + patience);
    if (event == ChildChannel::Event::frame && frame.kind == ChildFrame::Kind::hello) {
      FieldReader fields(frame);
      const auto memory = static_cast<std::uint64_t>(fields.number());
      can_start(true);
      const std::lock_guard lock(mutex_);
      memory_ = memory;
      return greeted_ = true;
    }
    if (event == ChildChannel::Event::frame && frame.kind == ChildFrame::Kind::unable)
      why = FieldReader(frame).text();
    else if (event == ChildChannel::Event::late)
      why.append("it was not ready within ").append(format_duration(duration_cast<Duration>(patience)));
  } catch (const Error& error) {
    why = error.what();
  }
  ForkServer::signal(process_, SIGKILL);
  const auto how = bury();
  if (!pool_.lost_ && !pool_.closed_) failed_to_start(why.empty() ? "it " + how : why);
  return false;
}

/// Waits for the end of a process that was killed or has let go of its socket, and tells how it ended.
std::string PoolChild::bury() {
  std::string how("does not end, although it was killed");
  pollfd fd{process_.ended.get(), POLLIN, 0};
  if (poll(&fd, 1, static_cast<int>(patience.count())) > 0) {
    if (const auto status = ForkServer::how_it_ended(process_)) {
      how = ending(*status);
    } else {
      how.assign("ended with the pool");
      pool_.lost_ = true;
      pool_.forks_.end_group(process_);
    }
  }
  let_go();
  return how;
}

bool PoolChild::ready() {
  if (process_.pid != 0 && greeted_ && renewed_ != pool_.renewed_) retire("the worker was reloaded");
  for (int times = 0; times < 3; ++times) {
    if (process_.pid != 0 && greeted_) {
      // Also of one that has just said so: its word may have been waiting here for long.
      if (!has_ended()) return can_start(true), true;
      const auto pid = process_.pid;
      spdlog::warn("process {} of the pool, pid {}, {} while it had no job", index_, pid, bury());
    }
    if (process_.pid == 0 && !start()) return false;
    if (!greet()) return false;
  }
  failed_to_start("each ends as soon as it is ready");
  return false;
}

void PoolChild::prepare() {
  const std::lock_guard hands(hands_);
  while (!pool_.closed_ && !pool_.lost_) {
    if (now() >= next_try_ && ready()) break;
    // Seldom at once: a process that just crashed in a job is replaced without a pause.
    pool_.rest(std::max<Duration>(duration_cast<Duration>(next_try_ - now()), 1ms));
  }
}

void PoolChild::retire(const char* why) {
  spdlog::debug("process {} of the pool, pid {}, is replaced after {} jobs: {}", index_, process_.pid, jobs_,
                why);
  let_go();
}

Outcome PoolChild::run(LeasedJob& job, TaskContext& context) {
  const std::lock_guard hands(hands_);
  if (pool_.closed_ || pool_.lost_) return PutBack{};
  const auto asked = pool_.clock_.steady();
  if (!ready()) return pool_.closed_ || pool_.lost_ ? PutBack{} : PutBack{1s};
  const auto waited = duration_cast<Duration>(pool_.clock_.steady() - asked);
  auto& forks = pool_.forks_;
  {
    const std::lock_guard lock(mutex_);
    // Closed meanwhile: it was put back, and the look that kills handlers may have found none here.
    if (pool_.closed_ || pool_.lost_) return PutBack{};
    ended_by_stop_ = false;
    forks.board().crash(index_).signal = 0;
    forks.board().cancelled(index_) = job.cancelled.load();
    job_ = &job;
  }
  job.child = process_.pid;
  struct End {
    PoolChild& self;
    LeasedJob& job;
    ~End() {
      job.child = 0;
      const std::lock_guard lock(self.mutex_);
      self.job_ = nullptr;
    }
  } end{*this, job};
  try {
    return converse(job, context, waited);
  } catch (const HandlerFailed&) {
    throw;
  } catch (...) {
    // What it will say next belongs to nothing.
    if (process_.pid != 0) {
      ForkServer::signal(process_, SIGKILL);
      bury();
    }
    throw;
  }
}

Outcome PoolChild::converse(LeasedJob& job, TaskContext& context, Duration waited) {
  using Event = ChildChannel::Event;
  const auto left = [&](SteadyTime limit) {
    return duration_cast<Duration>(limit - pool_.clock_.steady()) + waited;
  };
  std::optional<Duration> soft;
  if (job.soft_deadline) soft = left(*job.soft_deadline);
  std::optional<SteadyTime> deadline;
  if (job.hard_deadline) deadline = now() + left(*job.hard_deadline);

  auto event = channel_.send(job_frame(job, soft), process_.ended.get(), deadline);
  for (ChildFrame frame; event == Event::frame;) {
    event = channel_.receive(frame, process_.ended.get(), deadline);
    if (event != Event::frame) break;
    // A handler that speaks faster than it is heard is as late as one that is silent.
    const bool wish = frame.kind == ChildFrame::Kind::extend || frame.kind == ChildFrame::Kind::progress;
    if (wish && deadline && now() >= *deadline) {
      event = Event::late;
      break;
    }
    FieldReader fields(frame);
    if (frame.kind == ChildFrame::Kind::extend) {
      context.extend_lease(Duration{fields.number()});
    } else if (frame.kind == ChildFrame::Kind::progress) {
      const auto fraction = fields.real();
      context.progress(fraction, std::string(fields.text()));
    } else {
      std::uint64_t memory = 0;
      try {
        auto outcome = read_answer(frame, memory);
        finish(memory);
        return outcome;
      } catch (const HandlerFailed&) {
        finish(memory);
        throw;
      }
    }
  }
  if (event == Event::late) end_by_limit(job);
  return end_of_process();
}

/// After a job that the process has survived.
void PoolChild::finish(std::uint64_t memory) {
  failures_ = 0;
  {
    const std::lock_guard lock(mutex_);
    ++jobs_;
    memory_ = memory;
  }
  const auto& rules = pool_.rules_;
  if (rules.max_memory > 0 && memory > rules.max_memory) {
    spdlog::info("process {} of the pool, pid {}, is replaced after {} jobs: it has {} MiB", index_,
                 process_.pid, jobs_, memory >> 20);
    let_go();
  } else if (rules.max_tasks > 0 && jobs_ >= static_cast<std::uint64_t>(rules.max_tasks)) {
    retire("it may do no more");
  }
}

void PoolChild::end_by_limit(const LeasedJob& job) {
  const auto limit = format_duration(duration_cast<Duration>(*job.hard_deadline - job.started));
  spdlog::error("ran past its hard time limit of {}; its process {} is killed", limit, process_.pid);
  ForkServer::signal(process_, SIGKILL);
  const auto pid = process_.pid;
  if (const auto how = bury(); !how.starts_with("was")) spdlog::error("process {} {}", pid, how);
  throw HandlerFailed{{"hard-time-limit", "ran past its hard time limit of " + limit}};
}

/// The process ended, or let go of its socket, before it said what became of the job.
Outcome PoolChild::end_of_process() {
  const auto pid = process_.pid;
  pollfd fd{process_.ended.get(), POLLIN, 0};
  // Who closes a descriptor that is not its own cannot tell of its job any more.
  if (poll(&fd, 1, 1000) == 0) ForkServer::signal(process_, SIGKILL);
  std::optional<int> status;
  if (poll(&fd, 1, static_cast<int>(patience.count())) > 0) status = ForkServer::how_it_ended(process_);
  if (!status) pool_.forks_.end_group(process_);
  auto& crash = pool_.forks_.board().crash(index_);
  bool stopped;
  {
    const std::lock_guard lock(mutex_);
    stopped = ended_by_stop_;
  }
  let_go();
  if (stopped) return PutBack{};
  if (!status) {
    // Not this job's fault, nor any other's.
    pool_.lost_ = true;
    return PutBack{};
  }
  ++pool_.counters_.crashed;
  Failure failure;
  if (WIFSIGNALED(*status)) {
    // What was noted first: the alarm may have ended what could not be noted in time.
    const int number = crash.signal != 0 ? static_cast<int>(crash.signal) : WTERMSIG(*status);
    failure.type = signal_name(number);
    failure.message = "the handler's process (pid " + std::to_string(pid) + ") was ended by " + failure.type;
    if (crash.signal != 0 && crash.has_address)
      failure.message += fmt::format(" at address {:#x}", reinterpret_cast<std::uintptr_t>(crash.address));
    if (number == SIGKILL) failure.message += "; perhaps the out-of-memory killer";
    if (crash.signal != 0) failure.stack = pool_.forks_.board().describe(crash);
  } else {
    failure.type = "process-exit";
    failure.message = "the handler ended its process (pid " + std::to_string(pid) + ") with exit status " +
                      std::to_string(WEXITSTATUS(*status));
  }
  const LogEvent event(LogEvent::handler_crashed);
  spdlog::error("{}; no other job is concerned{}{}", failure.message,
                failure.stack.empty() ? "" : "; it was in:\n", failure.stack);
  throw HandlerFailed{std::move(failure)};
}

void PoolChild::look(bool stopping, bool stop_now) {
  {
    const std::lock_guard lock(mutex_);
    if (job_) {
      if (stopping || job_->cancelled) pool_.forks_.board().cancelled(index_) = true;
      if (stop_now && !ended_by_stop_) {
        ended_by_stop_ = true;
        ForkServer::signal(process_, SIGKILL);
      }
      return;
    }
    // Somebody waits for its first word.
    if (stop_now && !greeted_) ForkServer::signal(process_, SIGKILL);
  }
  // The executor sleeps until there is a job: in its place.
  const std::unique_lock hands(hands_, std::try_to_lock);
  if (!hands || stopping || pool_.closed_ || pool_.lost_ || now() < next_try_) return;
  // Whether it will be ready is seen when there is a job for it: nobody else would wait for its first word.
  if (process_.pid == 0) {
    if (start()) can_start(true);
    return;
  }
  if (!has_ended()) return;
  const auto pid = process_.pid;
  const bool never_lived = jobs_ == 0 && now() - started_ < infancy;
  const auto how = bury();
  if (pool_.lost_) return;
  if (never_lived) return failed_to_start("it " + how);
  spdlog::warn("process {} of the pool, pid {}, {} while it had no job", index_, pid, how);
  if (start()) can_start(true);
}

void PoolChild::end_group() {
  const std::lock_guard lock(mutex_);
  pool_.forks_.end_group(process_);
}

ChildView PoolChild::view() const {
  const std::lock_guard lock(mutex_);
  return {index_, process_.pid, jobs_, memory_, job_ != nullptr};
}

}  // namespace stem
