#include "service/daemon.hpp"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stem/error.hpp>
#include <stem/version.hpp>

#include "core/log_event.hpp"
#include "service/control_socket.hpp"
#include "service/directories.hpp"
#include "service/node_template.hpp"
#include "service/pidfile.hpp"
#include "service/signal_pipe.hpp"
#include "service/start_text.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

constexpr Duration busy_tick = 1s;   // while something goes on that STATUS= shows
constexpr Duration idle_tick = 15s;  // without a watchdog
constexpr Duration extension =
    15s;  // each EXTEND_TIMEOUT_USEC=, renewed every `renewal` while there is progress
constexpr Duration renewal = 5s;

std::int64_t ms(Duration length) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(length).count();
}

/// The errno that says best why we leave, for ERRNO=.
int errno_of(int exit_status) {
  switch (static_cast<Exit>(exit_status)) {
    case Exit::ok:
      return 0;
    case Exit::usage:
    case Exit::data:
    case Exit::config:
      return EINVAL;
    case Exit::no_input:
      return ENOENT;
    case Exit::unavailable:
      return ENOTCONN;
    case Exit::cannot_create:
      return EIO;
    case Exit::try_again:
      return EAGAIN;
    case Exit::no_permission:
      return EACCES;
    default:
      return 0;
  }
}

struct FreeLoop {
  void operator()(sd_event* loop) const { sd_event_unref(loop); }
};
struct FreeSource {
  void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
};
using Source = std::unique_ptr<sd_event_source, FreeSource>;

/// One run of one workload: the main loop, and what it knows between two turns.
class Service {
 public:
  Service(const ServiceSettings& settings, Notify& notify, LogOutput& log)
      : settings_(settings), notify_(notify), log_(log), signals_(handled()) {
    sd_event* loop = nullptr;
    check(sd_event_new(&loop));
    loop_.reset(loop);
    watch(signals_.fd(), [](sd_event_source*, int, std::uint32_t, void* self) {
      return static_cast<Service*>(self)->guard(&Service::take_signals);
    });
    control_.emplace(loop_.get(), control_socket_path(settings.runtime_dir, settings.node),
                     [this](const std::string& word, const Json&) { return answer(word); });
  }

  int run(Workload& workload) {
    workload_ = &workload;
    workload.start();
    watch(workload.event_fd(), [](sd_event_source*, int, std::uint32_t, void* self) {
      return static_cast<Service*>(self)->guard(&Service::take_event);
    });
    sd_event_source* timer = nullptr;
    check(sd_event_add_time(
        loop_.get(), &timer, CLOCK_MONOTONIC, 0, 20'000,
        [](sd_event_source*, std::uint64_t, void* self) {
          return static_cast<Service*>(self)->guard(&Service::tick);
        },
        this));
    timer_.reset(timer);
    check(sd_event_loop(loop_.get()));
    if (error_) std::rethrow_exception(error_);
    return *exit_status_;
  }

 private:
  enum class Phase { starting, running, stopping };

  /// A daemon has no terminal: what one would stop and resume a program with is the workload's business
  /// there.
  static std::vector<int> handled() {
    std::vector<int> numbers = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH};
    if (!isatty(STDIN_FILENO)) numbers.insert(numbers.end(), {SIGTSTP, SIGTTIN, SIGTTOU});
    return numbers;
  }

  static void check(int result) {
    if (result < 0) throw Error(Exit::software, std::string("event loop: ") + std::strerror(-result));
  }

  void watch(int fd, sd_event_io_handler_t handler) {
    sd_event_source* source = nullptr;
    check(sd_event_add_io(loop_.get(), &source, fd, EPOLLIN, handler, this));
    sources_.emplace_back(source);
  }

  /// No exception may pass through the C loop: it ends the loop, and run() throws it on.
  int guard(void (Service::*step)()) {
    try {
      (this->*step)();
    } catch (...) {
      error_ = std::current_exception();
      sd_event_exit(loop_.get(), 0);
    }
    return 0;
  }

  void take_signals() {
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

  void take_event() {
    workload_->clear_event();
    tick();
  }

  /// Looks at the workload, says what is to be said of it, and decides when to look again.
  void tick() {
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
    watch_progress(vitals, now);
    const auto line = status_line(vitals);
    const auto untold = notify_.status(line);
    const bool quiet = untold == 0s && vitals.busy == 0 && line == last_line_ && phase_ == Phase::running;
    last_line_ = line;

    Duration next = untold > 0s ? untold : quiet ? idle_tick : busy_tick;
    if (const auto limit = notify_.watchdog_limit(); limit && phase_ == Phase::running) {
      const auto due = std::chrono::duration_cast<Duration>(fed_at_ + *limit / 2 - now);
      next = quiet ? (due > 0s ? due : *limit / 2) : std::min(next, due > 0s ? due : *limit / 2);
      if (!stuck_.empty()) next = std::min(busy_tick, *limit / 8);  // it may recover before the limit
    }
    if (phase_ == Phase::stopping)
      next = std::min(next, std::max(Duration(1ms), std::chrono::duration_cast<Duration>(deadline_ - now)));
    check(sd_event_source_set_time_relative(timer_.get(), static_cast<std::uint64_t>(next.count())));
    check(sd_event_source_set_enabled(timer_.get(), SD_EVENT_ONESHOT));
  }

  void become_ready(const Vitals& vitals, SteadyTime now) {
    phase_ = Phase::running;
    fed_at_ = now;  // the manager counts from READY=1
    last_line_ = status_line(vitals);
    notify_.ready(last_line_);
    spdlog::info("ready: {}", vitals.status);
    unmap_start_text();
    if (settings_.on_ready) settings_.on_ready();
  }

  void wait_for_start(const Vitals& vitals, SteadyTime now) {
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

  /// What makes no progress is named once in the log, and the watchdog is fed only while all parts do.
  void watch_progress(const Vitals& vitals, SteadyTime now) {
    std::string stuck;
    for (const auto& part : vitals.stuck) stuck += (stuck.empty() ? "" : "; ") + part;
    if (stuck != stuck_) {
      const LogEvent event(stuck.empty() ? nullptr : LogEvent::no_progress);
      if (stuck.empty())
        spdlog::info("all parts make progress again");
      else
        spdlog::error("no progress: {}{}", stuck,
                      !notify_.watchdog_limit()  ? "; no watchdog is set for this service"
                      : phase_ == Phase::running ? "; the watchdog is not fed any more"
                                                 : "");
      stuck_ = stuck;
    }
    const auto limit = notify_.watchdog_limit();
    if (!limit || phase_ != Phase::running || !stuck.empty() || vitals.feeds_watchdog) return;
    if (now - fed_at_ < *limit / 2 - std::min<Duration>(*limit / 10, 200ms) && fed_once_) return;
    notify_.watchdog();
    fed_at_ = now;
    fed_once_ = true;
  }

  void stop(StopMode mode, const char* reason) {
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
  bool drain(const Vitals& vitals, SteadyTime now) {
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
  [[noreturn]] void abandon() {
    const int status = forced_status_.value_or(static_cast<int>(Exit::software));
    notify_.leaving(status, ETIMEDOUT, "left behind what would not end");
    control_.reset();
    if (on_abandon) on_abandon();
    spdlog::default_logger()->flush();
    std::_Exit(status);
  }

  void leave(int status) {
    exit_status_ = forced_status_.value_or(status);
    const auto vitals = workload_->vitals();
    if (phase_ != Phase::stopping && *exit_status_ == 0) notify_.stopping(settings_.hard_limit);
    notify_.leaving(*exit_status_, errno_of(*exit_status_), vitals.status);
    // A foreign program that the asked-for signal has ended did as it was told.
    const bool as_told =
        phase_ == Phase::stopping && (*exit_status_ == 128 + SIGTERM || *exit_status_ == 128 + SIGINT);
    if (*exit_status_ == 0 || as_told)
      spdlog::info("ended: {}", vitals.status);
    else
      spdlog::error("ended with status {}: {}", *exit_status_, vitals.status);
    sd_event_exit(loop_.get(), 0);
  }

  void reload() {
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

  std::string status_line(const Vitals& vitals) const {
    if (!vitals.stuck.empty()) return "stuck: " + vitals.stuck.front() + " · " + vitals.status;
    return phase_ == Phase::stopping ? "stopping · " + vitals.status : vitals.status;
  }

  Json answer(const std::string& word) const {
    if (word != "health") throw Error(Exit::usage, "unknown request; this worker knows `health`");
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
    health["loop"] = {{"ageMs", age(looked_at_)}};
    health["broker"] = {{"connected", vitals.broker_connected},
                        {"ageMs", vitals.broker_age ? Json(ms(*vitals.broker_age)) : Json()}};
    const auto limit = notify_.watchdog_limit();
    health["watchdog"] = {{"enabled", limit.has_value()},
                          {"limitMs", limit ? Json(ms(*limit)) : Json()},
                          {"ageMs", limit && fed_once_ ? Json(age(fed_at_)) : Json()}};
    health["reload"] = {{"count", reloads_},
                        {"error", reload_failure_.empty() ? Json() : Json(reload_failure_)},
                        {"exitStatus", static_cast<int>(reload_code_)}};
    health["pidfile"] = settings_.pidfile.empty() ? Json() : Json(settings_.pidfile);
    health["logfile"] = settings_.logfile.empty() ? Json() : Json(settings_.logfile);
    return health;
  }

 public:
  std::function<void()> on_abandon;  ///< removes the pidfiles

 private:
  const ServiceSettings& settings_;
  Notify& notify_;
  LogOutput& log_;
  SignalPipe signals_;
  std::unique_ptr<sd_event, FreeLoop> loop_;
  std::vector<Source> sources_;
  Source timer_;
  std::optional<ControlSocket> control_;
  Workload* workload_ = nullptr;

  Phase phase_ = Phase::starting;
  const SteadyTime begun_ = std::chrono::steady_clock::now();
  const WallTime begun_wall_ = Clock::system().wall();
  SteadyTime looked_at_ = begun_;
  SteadyTime extended_at_{};
  SteadyTime fed_at_ = begun_;
  bool fed_once_ = false;
  std::string last_line_;
  std::string stuck_;

  unsigned reloads_ = 0;
  std::string reload_failure_;  // of the last one
  Exit reload_code_ = Exit::ok;

  StopMode mode_ = StopMode::warm;
  std::optional<StopMode> told_to_stop_;
  SteadyTime deadline_{};
  std::uint64_t drained_ = 0;
  std::optional<int> forced_status_;
  std::optional<int> exit_status_;
  std::exception_ptr error_;
};

std::unique_ptr<Pidfile> lock_node(const ServiceSettings& settings) {
  const auto path = settings.runtime_dir + "/" + settings.node + ".lock";
  try {
    auto lock = std::make_unique<Pidfile>(path);
    lock->write();
    return lock;
  } catch (const Error& error) {
    const auto holder = read_pidfile(path);
    if (error.code() != Exit::try_again || !holder.running()) throw;
    throw Error(Exit::try_again, "node " + settings.node + " runs already (pid " +
                                     std::to_string(holder.pid) + ", lock " + path +
                                     "); stop it first, or give this one another name");
  }
}

int run_with(const ServiceSettings& settings, Notify& notify,
             const std::function<std::unique_ptr<Workload>(ServiceOutputs)>& make) {
  const auto owner = Owner::self();
  if (!settings.logfile.empty()) make_parent_directories(settings.logfile, owner, settings.private_dirs);
  LogOutput log({.node = settings.node,
                 .file = settings.logfile,
                 .level = settings.log_level,
                 .colour = settings.colour});
  make_directories(settings.runtime_dir, owner, settings.private_dirs);
  if (!settings.pidfile.empty()) make_parent_directories(settings.pidfile, owner, settings.private_dirs);

  // One worker a node and runtime directory, with or without a pidfile of its own. Held until all else has
  // ended.
  const auto lock = lock_node(settings);
  std::optional<Pidfile> pidfile;
  if (!settings.pidfile.empty()) {
    pidfile.emplace(settings.pidfile);
    pidfile->write();
  }
  Service service(settings, notify, log);
  service.on_abandon = [&] {
    if (pidfile) unlink(pidfile->path().c_str());
    unlink(lock->path().c_str());
  };
  const auto workload = make({notify, log});
  return service.run(*workload);
}

}  // namespace

ServiceSettings ServiceSettings::from(const Config& config, const Environment& environment) {
  ServiceSettings settings;
  if (!config.node.empty()) settings.node = config.node;
  const auto marks = NodeTemplate::now(settings.node);
  const auto path = [&](const std::string& text) {
    return text.empty() ? text : std::filesystem::absolute(marks.expand(text)).lexically_normal().string();
  };
  settings.pidfile = path(config.pidfile);
  settings.logfile = path(config.logfile);
  settings.log_level = config.log_level;
  settings.runtime_dir =
      std::filesystem::absolute(stem::runtime_dir(config, environment)).lexically_normal().string();
  settings.drain_limit = config.drain_limit;
  return settings;
}

int run_service(const ServiceSettings& settings,
                const std::function<std::unique_ptr<Workload>(ServiceOutputs)>& make) {
  auto notify = Notify::from_environment();
  try {
    return run_with(settings, notify, make);
  } catch (const Error& error) {
    const auto status = static_cast<int>(error.code());
    notify.leaving(status, errno_of(status), error.what());
    throw;
  }
}

}  // namespace stem
