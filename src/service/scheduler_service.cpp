#include "service/scheduler_service.hpp"

#include <spdlog/spdlog.h>

#include "service/telemetry.hpp"
#include "storage/tls_warnings.hpp"

namespace stem {
namespace {

std::string counted(std::int64_t number, const char* one, const char* many) {
  return std::to_string(number) + " " + (number == 1 ? one : many);
}

}  // namespace

SchedulerService::SchedulerService(const Config& config, ServiceOutputs outputs,
                                   std::function<Config()> reread)
    : config_(config), outputs_(outputs), reread_(std::move(reread)) {
  auto places = open_schedule_places(config);
  if (!places.broker->publishes_with(*places.schedules))
    spdlog::warn(
        "jobs and schedules are kept in two systems: what is remembered of a run follows its job, not in one "
        "commit with it; "
        "unset STEM_SCHEDULE_STORE_URL to have both in one");
  auto options = beat_options(config, config.node);
  options.tracer = tracer_ = start_telemetry(config);
  scheduler_ = std::make_unique<Scheduler>(std::move(options), std::move(places));
  for (const auto& warning : tls_warnings(config.tls)) spdlog::warn("{}", warning);
}

void SchedulerService::start() {
  scheduler_->start();
}
int SchedulerService::event_fd() const {
  return scheduler_->events().fd();
}
void SchedulerService::clear_event() {
  scheduler_->events().clear();
}

std::string SchedulerService::status_line() const {
  const auto& beat = scheduler_->beat();
  const auto& counters = beat.counters();
  std::string line;
  if (const auto trouble = scheduler_->link().trouble()) line = std::string(trouble->what()) + " · ";
  if (!beat.leads()) {
    const auto holder = beat.holder();
    return line + "standing by" + (holder.empty() ? "" : " · " + holder + " leads");
  }
  line += "leading · " + counted(counters.schedules, "schedule", "schedules");
  if (counters.broken > 0) line += " · " + std::to_string(counters.broken) + " unreadable";
  line += " · " + counted(counters.published, "job", "jobs") + " published";
  if (counters.misfires > 0) line += " · " + counted(counters.misfires, "misfire", "misfires");
  const auto next = beat.next_up();
  return line + (next.empty() ? "" : " · next: " + next);
}

Vitals SchedulerService::vitals() const {
  const auto& counters = scheduler_->beat().counters();
  const auto& link = scheduler_->link();
  const auto now = Clock::system().steady();
  Vitals vitals;
  vitals.ready = link.answered().has_value();
  vitals.status = status_line();
  vitals.done = static_cast<std::uint64_t>(counters.published.load());
  vitals.failed = static_cast<std::uint64_t>(counters.errors.load());
  vitals.broker_connected = link.connected();
  if (const auto answered = link.answered()) vitals.broker_age = duration_cast<Duration>(now - *answered);
  const auto silent = duration_cast<std::chrono::seconds>(now - scheduler_->loop_turned());
  if (silent > 4 * Scheduler::recheck && !scheduler_->finished())
    vitals.stuck.push_back("beat thread: no progress for " + std::to_string(silent.count()) + " s");
  return vitals;
}

void SchedulerService::measure(MetricSnapshot& snapshot) const {
  const MetricPoint::Labels labels{{"worker", config_.node}, {"namespace", config_.name_space}};
  const auto& link = scheduler_->link();
  scheduler_->beat().measure(snapshot, labels);
  snapshot.gauge("stem.broker.connected", "", "Whether the broker answered the last time (1) or not (0).",
                 labels, link.connected());
  if (const auto answered = link.answered())
    snapshot.gauge("stem.broker.age", "s", "How long ago the broker last answered.", labels,
                   std::chrono::duration<double>(Clock::system().steady() - *answered).count());
}

std::optional<int> SchedulerService::finished() const {
  if (!scheduler_->finished()) return std::nullopt;
  const auto trouble = scheduler_->link().trouble();
  return trouble && !stopping_ ? static_cast<int>(trouble->code()) : 0;
}

void SchedulerService::stop(StopMode) {
  stopping_ = true;
  scheduler_->stop();
}

void SchedulerService::reload() {
  if (!reread_) return;
  const auto fresh = reread_();
  outputs_.log.set_level(fresh.log_level);
  scheduler_->configure(beat_options(fresh, config_.node));
  if (fresh.broker_url != config_.broker_url || fresh.result_backend_url != config_.result_backend_url ||
      fresh.schedule_store_url != config_.schedule_store_url ||
      fresh.scheduler_lock_period != config_.scheduler_lock_period || fresh.tls != config_.tls ||
      fresh.telemetry != config_.telemetry)
    spdlog::warn(
        "broker, result backend, schedule store, the lock's period, OTEL_* and STEM_TLS_* change at the next "
        "restart only");
  config_.log_level = fresh.log_level;
}

void SchedulerService::signal(int) {}

}  // namespace stem
