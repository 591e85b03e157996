#include "scheduler/scheduler.hpp"

#include <unistd.h>

#include <algorithm>
#include <stem/error.hpp>

#include "worker/routing_file.hpp"

namespace stem {
namespace {

constexpr Duration announced_at_most_every = std::chrono::seconds{1};

std::string host_of_this_process() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

}  // namespace

BeatOptions beat_options(const Config& config, const std::string& node) {
  BeatOptions options;
  options.title = node + " on " + host_of_this_process() + " (pid " + std::to_string(getpid()) + ")";
  options.catch_up = config.catch_up == "none"  ? CatchUp::none
                     : config.catch_up == "all" ? CatchUp::all
                                                : CatchUp::last;
  options.grace = config.misfire_grace;
  options.lock_period = config.scheduler_lock_period;
  options.routing = routing_of(config).routing;
  options.default_max_retries = config.default_max_retries;
  options.signer = PayloadSigner::maybe(config);
  if (options.signer && !options.signer->can_sign())
    throw Error(Exit::config,
                "a scheduler signs the jobs that it publishes, and cannot: set STEM_SIGNING_PRIVATE_KEYS and "
                "STEM_SIGNING_ACTIVE_KEY");
  return options;
}

Scheduler::Scheduler(BeatOptions options, SchedulePlaces places, const Clock& clock)
    : clock_(clock),
      schedules_(places.schedules),
      beat_(std::move(options), std::move(places), clock),
      link_(clock, [this] { events_.set(); }) {}

Scheduler::~Scheduler() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void Scheduler::start() {
  loop_turned_ = clock_.steady().time_since_epoch().count();
  thread_ = std::thread([this] { run(); });
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  schedules_->stop_waiting();
}

void Scheduler::run() {
  SteadyTime announced{};
  std::pair<bool, std::string> shown;
  bool untold = false;
  while (!stopping_ && !link_.broken()) {
    loop_turned_ = clock_.steady().time_since_epoch().count();
    Duration next{};
    const bool turned = link_.ask([&] { next = beat_.turn(); });
    if (!turned) {
      if (!link_.broken()) rest(duration_cast<Duration>(link_.next_try() - clock_.steady()));
      continue;
    }
    const std::pair<bool, std::string> now{beat_.counters().leading, beat_.next_up()};
    const bool led = shown.first != now.first;
    untold = untold || shown != now;
    shown = now;
    if (led || (untold && clock_.steady() - announced >= announced_at_most_every)) {
      untold = false;
      announced = clock_.steady();
      events_.set();
    }
    const auto [key, version] = beat_.watched();
    link_.ask(
        [&, &key = key, &version = version] { schedules_->await(key, version, std::min(next, recheck)); });
  }
  if (!link_.broken()) {
    link_.hurry();
    link_.ask([&] { beat_.resign(); });
  }
  finished_ = true;
  events_.set();
}

void Scheduler::rest(Duration length) {
  std::unique_lock lock(mutex_);
  stopped_.wait_for(lock, std::clamp<Duration>(length, std::chrono::milliseconds{1}, recheck),
                    [&] { return stopping_.load(); });
}

}  // namespace stem
