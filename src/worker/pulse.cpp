#include "worker/pulse.hpp"

#include <algorithm>
#include <stem/error.hpp>

#include "core/milliseconds.hpp"
#include "worker/heartbeat.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

/// How often, and how long, one who looks on may have heartbeats.
constexpr Duration shortest_watch = milliseconds{250};
constexpr Duration longest_watch = std::chrono::minutes{1};

}  // namespace

Duration Pulse::interval(SteadyTime now) const {
  return now < watched_until_ ? std::min(watched_every_, options_.heartbeat) : options_.heartbeat;
}

void Pulse::beat(Json facts) {
  const Counted now{clock_.steady(), counters_.done, counters_.failed, counters_.retried};
  next_ = now.at + interval(now.at);
  // Who reads one heartbeat only knows the pace, too.
  const auto since =
      counted_.at == SteadyTime{} ? Duration::zero() : duration_cast<Duration>(now.at - counted_.at);
  facts["recent"] = {{"ms", ms(since)},
                     {"completed", now.done - counted_.done},
                     {"failed", now.failed - counted_.failed},
                     {"retried", now.retried - counted_.retried}};
  results_.put({heartbeat_record({.node = options_.node,
                                  .host = host_,
                                  .name_space = options_.name_space,
                                  .at = clock_.wall(),
                                  .interval = options_.heartbeat,
                                  .facts = std::move(facts)})});
  counted_ = now;
}

void Pulse::end() {
  results_.erase(heartbeat_key({.node = options_.node, .host = host_, .name_space = options_.name_space}));
}

Json Pulse::watch(const Json& wanted) {
  const auto length = [&](const char* key, Duration least, Duration most) {
    const auto found = wanted.find(key);
    if (found == wanted.end() || !found->is_number_integer())
      throw Error(Exit::data, std::string("its ") + key + " is no number");
    const auto asked = std::clamp<std::int64_t>(found->get<std::int64_t>(), 0, ms(longest_watch));
    return std::clamp<Duration>(milliseconds{asked}, least, most);
  };
  const auto now = clock_.steady();
  const auto every = length("everyMs", shortest_watch, longest_watch);
  const auto until = now + length("forMs", Duration::zero(), longest_watch);
  const bool begins = now >= watched_until_;
  watched_every_ = begins ? every : std::min(watched_every_, every);
  watched_until_ = std::max(watched_until_, until);
  // One who begins gets one at once.
  next_ = std::min(next_, begins ? now : now + interval(now));
  return {{"everyMs", ms(interval(now))}, {"forMs", ms(duration_cast<Duration>(watched_until_ - now))}};
}

}  // namespace stem
