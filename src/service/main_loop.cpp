#include "service/main_loop.hpp"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stem/error.hpp>
#include <stem/version.hpp>

#include "core/log_event.hpp"
#include "core/milliseconds.hpp"
#include "service/prometheus_page.hpp"
#include "service/start_text.hpp"
#include "service/telemetry.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

constexpr Duration busy_tick = 1s;   // while something goes on that STATUS= shows
constexpr Duration idle_tick = 15s;  // without a watchdog
constexpr Duration extension =
    15s;  // each EXTEND_TIMEOUT_USEC=, renewed every `renewal` while there is progress
constexpr Duration renewal = 5s;

/// A daemon has no terminal: what one would stop and resume a program with is the workload's business
/// there.
std::vector<int> handled() {
  std::vector<int> numbers = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
  if (!isatty(STDIN_FILENO)) numbers.insert(numbers.end(), {SIGTSTP, SIGTTIN, SIGTTOU});
  return numbers;
}

void check(int result) {
  if (result < 0) throw Error(Exit::software, std::string("event loop: ") + std::strerror(-result));
}

}  // namespace

MainLoop::MainLoop(const ServiceSettings& settings, Notify& notify, LogOutput& log)
    : settings_(settings), notify_(notify), log_(log), signals_(handled()) {
  sd_event* loop = nullptr;
  check(sd_event_new(&loop));
  loop_.reset(loop);
  watch(signals_.fd(), [](sd_event_source*, int, std::uint32_t, void* self) {
    return static_cast<MainLoop*>(self)->guard(&MainLoop::take_signals);
  });
  control_.emplace(loop_.get(), control_socket_path(settings.runtime_dir, settings.node),
                   [this](const std::string& word, const Json&) { return answer(word); });
}

int MainLoop::run(Workload& workload) {
  workload_ = &workload;
  if (settings_.metrics_listen) {
    load_prometheus();
    metrics_.emplace(*settings_.metrics_listen, [this] { return prometheus_page(snapshot()); });
  }
  workload.start();
  // Its thread asks the workload, which may be gone once this returns.
  const struct Ended {
    std::optional<MetricsServer>& server;
    ~Ended() { server.reset(); }
  } ended{metrics_};
  if (metrics_) serve_metrics();
  const MetricsTelling telling(workload.tracer(), [this] { return snapshot(); });
  watch(workload.event_fd(), [](sd_event_source*, int, std::uint32_t, void* self) {
    return static_cast<MainLoop*>(self)->guard(&MainLoop::take_event);
  });
  sd_event_source* timer = nullptr;
  check(sd_event_add_time(
      loop_.get(), &timer, CLOCK_MONOTONIC, 0, 20'000,
      [](sd_event_source*, std::uint64_t, void* self) {
        return static_cast<MainLoop*>(self)->guard(&MainLoop::tick);
      },
      this));
  timer_.reset(timer);
  check(sd_event_loop(loop_.get()));
  if (error_) std::rethrow_exception(error_);
  return *exit_status_;
}

void MainLoop::serve_metrics() {
  const auto& address = metrics_->address();
  (void)snapshot();  // what is looked at for whoever asks is looked at from now on
  metrics_->start();
  spdlog::info("metrics are served at {}{}",
               address.is_unix() ? address.text() : "http://" + address.text() + "/metrics",
               address.is_local() ? "" : ", to everyone who can reach that address");
}

void MainLoop::watch(int fd, sd_event_io_handler_t handler) {
  sd_event_source* source = nullptr;
  check(sd_event_add_io(loop_.get(), &source, fd, EPOLLIN, handler, this));
  sources_.emplace_back(source);
}

/// No exception may pass through the C loop: it ends the loop, and run() throws it on.
int MainLoop::guard(void (MainLoop::*step)()) {
  try {
    (this->*step)();
  } catch (...) {
    error_ = std::current_exception();
    sd_event_exit(loop_.get(), 0);
  }
  return 0;
}

void MainLoop::take_signals() {
  while (const int number = signals_.next()) {
    switch (number) {
      case SIGTERM:
        stop(StopMode::warm, "SIGTERM");
        break;
      case SIGINT:
        stop(StopMode::soft, "SIGINT");
        break;
      case SIGQUIT:
        stop(StopMode::hard, "SIGQUIT");
        break;
      case SIGHUP:
        reload();
        break;
      default:
        workload_->signal(number);
    }
  }
  tick();
}

void MainLoop::take_event() {
  workload_->clear_event();
  tick();
}

/// Looks at the workload, says what is to be said of it, and decides when to look again.
void MainLoop::tick() {
  if (exit_status_) return;
  const auto now = std::chrono::steady_clock::now();
  looked_at_ = now;
  const auto vitals = workload_->vitals();
  if (const auto status = workload_->finished()) return leave(*status);
  if (const auto mode = workload_->told_to_stop(); mode && (!told_to_stop_ || *mode > *told_to_stop_)) {
    told_to_stop_ = mode;
    stop(*mode, "told to through the broker");
  }
  if (phase_ == Phase::starting) {
    if (vitals.ready)
      become_ready(vitals, now);
    else
      wait_for_start(vitals, now);
  }
  if (phase_ == Phase::stopping && !drain(vitals, now)) return;
  feed_.look(vitals, now);
  const auto line = status_line(vitals);
  const auto untold = notify_.status(line);
  const bool quiet = untold == 0s && vitals.busy == 0 && line == last_line_ && phase_ == Phase::running;
  last_line_ = line;

  Duration next = untold > 0s ? untold : quiet ? idle_tick : busy_tick;
  if (const auto pause = feed_.pause(now)) next = quiet ? *pause : std::min(next, *pause);
  if (phase_ == Phase::stopping)
    next = std::min(next, std::max(Duration(1ms), std::chrono::duration_cast<Duration>(deadline_ - now)));
  check(sd_event_source_set_time_relative(timer_.get(), static_cast<std::uint64_t>(next.count())));
  check(sd_event_source_set_enabled(timer_.get(), SD_EVENT_ONESHOT));
}

void MainLoop::become_ready(const Vitals& vitals, SteadyTime now) {
  phase_ = Phase::running;
  feed_.begin(now);
  last_line_ = status_line(vitals);
  notify_.ready(last_line_);
  spdlog::info("ready: {}", vitals.status);
  unmap_start_text();
  if (settings_.on_ready) settings_.on_ready();
}

void MainLoop::wait_for_start(const Vitals& vitals, SteadyTime now) {
  if (now - begun_ >= settings_.start_limit) {
    const LogEvent event(LogEvent::never_ready);
    spdlog::error("not ready within {}: {}", format_duration(settings_.start_limit), vitals.status);
    forced_status_ = static_cast<int>(Exit::unavailable);
    stop(StopMode::hard, "the start limit");
  } else if (now - extended_at_ >= renewal) {
    extended_at_ = now;
    notify_.extend(extension);
  }
}

void MainLoop::stop(StopMode mode, const char* reason) {
  const auto now = std::chrono::steady_clock::now();
  if (phase_ == Phase::stopping) {
    if (mode_ == StopMode::hard) return;
    // The impatient get the next harder mode, whatever they ask for.
    mode = std::max(mode, mode_ == StopMode::warm ? StopMode::soft : StopMode::hard);
  }
  mode_ = mode;
  const auto limit = mode == StopMode::warm   ? settings_.drain_limit
                     : mode == StopMode::soft ? std::min(settings_.soft_limit, settings_.drain_limit)
                                              : settings_.hard_limit;
  deadline_ = now + limit;
  const char* words[] = {"finishing what runs", "asking what runs to stop", "putting back what runs"};
  spdlog::info("stopping ({}): {}, for {} at the most", reason, words[static_cast<int>(mode)],
               format_duration(limit));
  const bool first = phase_ != Phase::stopping;
  phase_ = Phase::stopping;
  feed_.end();
  workload_->stop(mode);
  if (!first) return;
  const auto vitals = workload_->vitals();
  drained_ = vitals.drained;
  extended_at_ = now;
  last_line_ = status_line(vitals);
  notify_.stopping(std::min<Duration>(extension, limit + settings_.hard_limit), last_line_);
}

/// While stopping: asks for more time as long as there is progress, up to the limit; then harder. False: we
/// are gone.
bool MainLoop::drain(const Vitals& vitals, SteadyTime now) {
  if (now >= deadline_) {
    if (mode_ == StopMode::hard) {
      const LogEvent event(LogEvent::jobs_left_behind);
      spdlog::critical(
          "what runs did not end within {}: leaving it; its jobs are taken over when their leases end",
          format_duration(settings_.hard_limit));
      abandon();
    }
    spdlog::warn("not done in time: {}", vitals.status);
    stop(StopMode::hard, "the time limit");
  }
  const bool progress = vitals.drained > drained_ || (vitals.busy > 0 && vitals.stuck.empty());
  if (progress && now - extended_at_ >= renewal) {
    drained_ = vitals.drained;
    extended_at_ = now;
    notify_.extend(std::min<Duration>(
        extension, std::chrono::duration_cast<Duration>(deadline_ - now) + settings_.hard_limit + renewal));
  }
  return true;
}

/// The end, with threads that cannot be joined: what would outlive us is removed by hand.
void MainLoop::abandon() {
  const int status = forced_status_.value_or(static_cast<int>(Exit::software));
  notify_.leaving(status, ETIMEDOUT, "left behind what would not end");
  control_.reset();
  metrics_.reset();
  if (on_abandon) on_abandon();
  spdlog::default_logger()->flush();
  std::_Exit(status);
}

void MainLoop::leave(int status) {
  exit_status_ = forced_status_.value_or(status);
  const auto vitals = workload_->vitals();
  if (phase_ != Phase::stopping && *exit_status_ == 0) notify_.stopping(settings_.hard_limit);
  notify_.leaving(*exit_status_, vitals.status);
  // A foreign program that the asked-for signal has ended did as it was told.
  const bool as_told =
      phase_ == Phase::stopping && (*exit_status_ == 128 + SIGTERM || *exit_status_ == 128 + SIGINT);
  if (*exit_status_ == 0 || as_told)
    spdlog::info("ended: {}", vitals.status);
  else
    spdlog::error("ended with status {}: {}", *exit_status_, vitals.status);
  sd_event_exit(loop_.get(), 0);
}

void MainLoop::reload() {
  const bool tell = phase_ == Phase::running;
  if (tell) notify_.reloading();
  std::string failure;
  reload_code_ = Exit::ok;
  try {
    log_.reopen();
    if (phase_ != Phase::stopping) workload_->reload();
    spdlog::info("reloaded");
  } catch (const Error& error) {
    failure = error.what();
    reload_code_ = error.code();
    const LogEvent event(LogEvent::refused_reload);
    spdlog::error("reload failed, what was in force stays: {}", failure);
  }
  reload_failure_ = failure;
  ++reloads_;
  if (tell) notify_.ready(failure.empty() ? status_line(workload_->vitals()) : "reload failed: " + failure);
}

std::string MainLoop::status_line(const Vitals& vitals) const {
  if (!vitals.stuck.empty()) return "stuck: " + vitals.stuck.front() + " · " + vitals.status;
  return phase_ == Phase::stopping ? "stopping · " + vitals.status : vitals.status;
}

MetricSnapshot MainLoop::snapshot() const {
  const std::string role = settings_.role;
  const MetricPoint::Labels labels{{"worker", settings_.node}, {"namespace", settings_.name_space}};
  const auto seconds = [](Duration length) { return std::chrono::duration<double>(length).count(); };
  MetricSnapshot snapshot;
  snapshot.at = Clock::system().wall();
  snapshot.since = begun_wall_;

  const auto phase = phase_.load();
  auto with_state = labels;
  with_state.emplace_back("state", feed_.stuck()              ? "stuck"
                                   : phase == Phase::starting ? "starting"
                                   : phase == Phase::running  ? "running"
                                                              : "draining");
  snapshot.gauge("stem." + role + ".up", "", "1 while the process answers; its state is a label.", with_state,
                 1);
  snapshot.gauge("stem." + role + ".start_time", "s", "When the process was started, in seconds since 1970.",
                 labels, seconds(begun_wall_.time_since_epoch()));
  if (const auto limit = feed_.limit()) {
    const auto now = std::chrono::steady_clock::now();
    // While it stops nobody feeds the watchdog, and nobody minds: how long that takes is no sign of anything.
    const bool watched = phase != Phase::stopping;
    if (watched)
      snapshot.gauge("stem." + role + ".watchdog.limit", "s",
                     "How long the service manager lets the process be silent.", labels, seconds(*limit));
    if (const auto age = watched ? feed_.age(now) : std::nullopt)
      snapshot.gauge("stem." + role + ".watchdog.age", "s",
                     "How long ago the service manager's watchdog was fed.", labels, seconds(*age));
    snapshot.counter("stem." + role + ".watchdog.pings", "Times that the service manager's watchdog was fed.",
                     labels, feed_.pings());
  }
  if (workload_) workload_->measure(snapshot);
  if (const auto tracer = workload_ ? workload_->tracer() : nullptr) measure_telemetry(*tracer, snapshot);
  snapshot.gauge("stem.build_info", "", "Always 1; the version of Stem is a label.", {{"version", version}},
                 1);
  return snapshot;
}

Json MainLoop::answer(const std::string& word) const {
  if (word == "metrics") return {{"metrics", to_wire(snapshot())}};
  if (word != "health") throw Error(Exit::usage, "unknown request; this worker knows `health` and `metrics`");
  const auto now = std::chrono::steady_clock::now();
  const auto age = [&](SteadyTime then) { return ms(std::chrono::duration_cast<Duration>(now - then)); };
  const auto vitals = workload_ ? workload_->vitals() : Vitals{};
  Json health;
  health["node"] = settings_.node;
  health["version"] = version;
  health["pid"] = getpid();
  health["child"] = vitals.child ? Json(*vitals.child) : Json();
  health["state"] = phase_ == Phase::starting  ? "starting"
                    : phase_ == Phase::running ? "running"
                                               : "stopping";
  health["ready"] = phase_ == Phase::running;
  health["statusText"] = status_line(vitals);
  health["stuck"] = vitals.stuck;
  health["since"] = format_time(begun_wall_);
  health["uptimeSeconds"] = age(begun_) / 1000;
  health["queues"] = vitals.queues;
  health["concurrency"] = vitals.concurrency;
  health["busy"] = vitals.busy;
  health["inflight"] = vitals.inflight;
  health["done"] = vitals.done;
  health["failed"] = vitals.failed;
  health["retried"] = vitals.retried;
  if (workload_)
    if (auto pool = workload_->pool(); !pool.is_null()) health["pool"] = std::move(pool);
  health["loop"] = {{"ageMs", age(looked_at_)}};
  health["broker"] = {{"connected", vitals.broker_connected},
                      {"ageMs", vitals.broker_age ? Json(ms(*vitals.broker_age)) : Json()}};
  health["watchdog"] = feed_.facts(now);
  health["reload"] = {{"count", reloads_},
                      {"error", reload_failure_.empty() ? Json() : Json(reload_failure_)},
                      {"exitStatus", static_cast<int>(reload_code_)}};
  health["pidfile"] = settings_.pidfile.empty() ? Json() : Json(settings_.pidfile);
  health["logfile"] = settings_.logfile.empty() ? Json() : Json(settings_.logfile);
  return health;
}

}  // namespace stem
