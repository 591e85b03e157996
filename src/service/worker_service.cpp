#include "service/worker_service.hpp"

#include <spdlog/spdlog.h>

#include <thread>

#include "service/telemetry.hpp"
#include "storage/tls_warnings.hpp"

namespace stem {
namespace {

std::atomic<bool> handlers_left_behind{false};

/// 1284 as `1,284`.
std::string grouped(std::uint64_t number) {
  auto digits = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  return digits;
}

EngineOptions options_of(const Config& config, const std::optional<std::optional<PayloadSigner>>& signer,
                         std::shared_ptr<Tracer> tracer) {
  auto own = config;
  if (signer) own.signing = {};  // the keys of the environment need not make sense, then
  auto options = engine_options(own);
  if (signer) options.signer = *signer;
  options.tracer = std::move(tracer);
  return options;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

WorkerService::WorkerService(const Config& config, const Registry& tasks, ServiceOutputs outputs,
                             std::function<Config()> reread,
                             const std::optional<std::optional<PayloadSigner>>& signer, ForkServer* forks)
    : config_(config),
      outputs_(outputs),
      reread_(std::move(reread)),
      tracer_(start_telemetry(config)),
      engine_(std::make_unique<Engine>(options_of(config, signer, tracer_), tasks, open_storage(config),
                                       Clock::system(), forks)) {
  if (auto* children = engine_->children()) children->renew(config.log_level);
  for (const auto& warning : tls_warnings(config.tls)) spdlog::warn("{}", warning);
}

WorkerService::~WorkerService() {
  // Handlers in children have been killed when the engine had finished; their executors only have to notice.
  const auto deadline = Clock::system().steady() + std::chrono::seconds{2};
  while (engine_->children() && !engine_->idle() && Clock::system().steady() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  if (engine_->idle()) return;
  handlers_left_behind = true;
  // The engine keeps it, and nobody will end it.
  if (tracer_) tracer_->exporter().finish(Tracer::last_words);
  (void)engine_.release();
}

bool WorkerService::abandoned_handlers() {
  return handlers_left_behind;
}

void WorkerService::start() {
  engine_->start();
}
int WorkerService::event_fd() const {
  return engine_->events().fd();
}
void WorkerService::clear_event() {
  engine_->events().clear();
}

std::string WorkerService::status_line() const {
  const auto& counters = engine_->counters();
  std::string line;
  if (const auto trouble = engine_->link().trouble()) line = std::string(trouble->what()) + " · ";
  line += std::to_string(counters.busy) + "/" + std::to_string(engine_->options().concurrency) + " busy · ";
  if (counters.stuck > 0) line += std::to_string(counters.stuck) + " stuck · ";
  if (counters.childless > 0) line += std::to_string(counters.childless) + " without a process · ";
  line += grouped(counters.done) + " done · " + grouped(counters.failed) + " failed · ";
  if (counters.forged > 0) line += grouped(counters.forged) + " not rightly signed · ";
  line += joined(engine_->subscriptions().queues());
  if (const auto paused = engine_->subscriptions().paused(); !paused.empty())
    line += " · paused: " + joined(paused);
  return line;
}

Vitals WorkerService::vitals() const {
  const auto& counters = engine_->counters();
  const auto now = Clock::system().steady();
  Vitals vitals;
  vitals.ready = engine_->link().answered().has_value();
  vitals.status = status_line();
  vitals.queues = engine_->subscriptions().queues();
  vitals.concurrency = engine_->options().concurrency;
  vitals.busy = counters.busy;
  vitals.inflight = engine_->inflight();
  vitals.done = counters.done;
  vitals.failed = counters.failed;
  vitals.retried = counters.retried;
  vitals.drained = counters.done + counters.failed + counters.retried;
  vitals.broker_connected = engine_->link().connected();
  if (const auto answered = engine_->link().answered())
    vitals.broker_age = duration_cast<Duration>(now - *answered);

  if (counters.stuck >= vitals.concurrency && !engine_->children())
    vitals.stuck.push_back("executors: all " + std::to_string(vitals.concurrency) +
                           " handlers run past their hard time limit");
  const auto silent = duration_cast<std::chrono::seconds>(now - engine_->loop_turned());
  if (silent > 3 * Engine::recheck && !engine_->finished())
    vitals.stuck.push_back("broker thread: no progress for " + std::to_string(silent.count()) + " s");
  return vitals;
}

void WorkerService::measure(MetricSnapshot& snapshot) const {
  // Whoever asks will ask again, or be gone: the queues are looked at for so long.
  engine_->want_queues(std::chrono::minutes{5});
  engine_->measure(snapshot);
}

std::optional<int> WorkerService::finished() const {
  if (!engine_->finished()) return std::nullopt;
  if (engine_->children() && engine_->children()->lost()) return static_cast<int>(Exit::software);
  const auto trouble = engine_->link().trouble();
  return trouble && !stopping_ ? static_cast<int>(trouble->code()) : 0;
}

void WorkerService::stop(StopMode mode) {
  stopping_ = true;
  if (mode == StopMode::warm) engine_->quiet();
  if (mode == StopMode::soft) engine_->cancel();
  if (mode == StopMode::hard) engine_->halt();
}

void WorkerService::reload() {
  if (!reread_) return;
  const auto fresh = reread_();
  outputs_.log.set_level(fresh.log_level);
  if (auto* children = engine_->children()) children->renew(fresh.log_level);
  const auto options = engine_options(fresh);
  engine_->serve(options.queues, options.broadcasts);
  const bool same_storage = fresh.broker_url == config_.broker_url &&
                            fresh.result_backend_url == config_.result_backend_url &&
                            fresh.revoke_store_url == config_.revoke_store_url && fresh.tls == config_.tls;
  if (!same_storage || fresh.name_space != config_.name_space || fresh.heartbeat != config_.heartbeat ||
      options.concurrency != engine_->options().concurrency || fresh.apps != config_.apps ||
      fresh.signing != config_.signing || fresh.telemetry != config_.telemetry ||
      fresh.pool != config_.pool || fresh.max_tasks_per_child != config_.max_tasks_per_child ||
      fresh.max_memory_per_child != config_.max_memory_per_child)
    spdlog::warn(
        "broker, stores, STEM_TLS_*, OTEL_*, namespace, heartbeat, task modules, concurrency, the pool and "
        "signing keys change at the next restart only");
  config_.log_level = fresh.log_level;
  config_.queues = fresh.queues;
  config_.broadcasts = fresh.broadcasts;
}

Json WorkerService::pool() const {
  const auto* children = engine_->children();
  if (!children) return {{"kind", "threads"}};
  return {{"kind", "processes"}, {"children", to_json(children->view())}};
}

void WorkerService::signal(int) {}

}  // namespace stem
