#include "worker/broker_link.hpp"

#include <spdlog/spdlog.h>

#include <stem/retry_policy.hpp>

#include "core/log_event.hpp"

namespace stem {

bool BrokerLink::ask(const std::function<void()>& call) {
  if (broken_ || clock_.steady() < next_try()) return false;
  try {
    call();
  } catch (const Error& error) {
    return fail(error);
  } catch (const std::exception& error) {
    return fail(Error(Exit::software, std::string("internal error: ") + error.what() + "; please report it"));
  }
  answered_ = clock_.steady().time_since_epoch().count();
  if (failures_ > 0) {
    failures_ = 0;
    const LogEvent event(LogEvent::broker_back);
    spdlog::info("the broker answers again");
    const std::lock_guard lock(mutex_);
    trouble_.reset();
  }
  if (!connected_.exchange(true)) changed_();
  return true;
}

bool BrokerLink::fail(const Error& error) {
  connected_ = false;
  {
    const std::lock_guard lock(mutex_);
    trouble_ = error;
  }
  const bool passing = error.code() == Exit::unavailable || error.code() == Exit::try_again ||
                       error.code() == Exit::cannot_create;
  const LogEvent event(LogEvent::broker_lost);
  if (passing) {
    if (failures_ == 0) spdlog::error("{}; trying again", error.what());
    next_try_ = clock_.steady() +
                RetryPolicy{std::chrono::milliseconds{100}, std::chrono::seconds{5}}.delay(failures_++, 0.5);
  } else {
    spdlog::critical("{}", error.what());
    broken_ = true;
  }
  changed_();
  return false;
}

std::optional<SteadyTime> BrokerLink::answered() const {
  const auto at = answered_.load();
  return at ? std::optional(SteadyTime{SteadyTime::duration{at}}) : std::nullopt;
}

std::optional<Error> BrokerLink::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

}  // namespace stem
