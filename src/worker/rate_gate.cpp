#include "worker/rate_gate.hpp"

#include <algorithm>
#include <charconv>

#include "core/token_bucket.hpp"

namespace stem {
namespace {

/// Workers that are after the same bucket at the same time try again so often.
constexpr int most_tries = 50;

/// A bucket that cannot be read is taken for a full one.
std::int64_t number_in(const std::string& text) {
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

RateGate::Task& RateGate::task_called(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto& task = tasks_[name];
  if (!task) task = std::make_unique<Task>();
  return *task;
}

std::optional<WallTime> RateGate::pass(const std::string& name, const RateLimit& limit) {
  auto& task = task_called(name);
  const std::lock_guard lock(task.mutex);
  const auto now = clock_.wall();
  if (task.tokens > 0 && now < task.tokens_end) {
    --task.tokens;
    return std::nullopt;
  }
  // A clock that was set back must not shut the gate for as long.
  task.next_token = std::min(task.next_token, now + TokenBucket::interval(limit));
  if (now >= task.next_token && take(task, "rate:" + name_space_ + "/" + name, limit, now)) {
    --task.tokens;
    return std::nullopt;
  }
  // One that misses its token by a moment has it, or a bucket of few tokens stays below its rate.
  const auto moment = std::min<Duration>(TokenBucket::interval(limit) / 4, std::chrono::milliseconds{100});
  if (task.next_token - now < moment && task.next_token != task.promised)
    return task.promised = task.next_token;
  const auto last = std::max(task.next_token, now + longest_wait);
  if (task.next_turn > last) {
    // Those without a turn yet are spread, so that they do not all come at once to be told so again.
    task.spread = (task.spread + longest_wait / 2 * 618 / 1000) % (longest_wait / 2);
    return last - task.spread;
  }
  const auto turn = std::max(task.next_turn, task.next_token);
  task.next_turn = turn + TokenBucket::interval(limit);
  return turn;
}

bool RateGate::take(Task& task, const std::string& key, const RateLimit& limit, WallTime now) {
  // Twice as many as long as they are used up; what was left over is lost.
  const auto most = static_cast<int>(
      std::clamp<std::int64_t>(token_life / TokenBucket::interval(limit) / 2, 1, limit.capacity()));
  const bool used_up = task.tokens == 0 && now < task.tokens_end;
  task.batch = std::clamp(used_up ? task.batch * 2 : (task.batch - task.tokens) / 2, 1, most);
  task.tokens = 0;
  for (int tries = 0; tries < most_tries; ++tries) {
    const auto entry = store_.get(key);
    TokenBucket bucket{entry ? number_in(entry->value) : 0};
    const auto taken = bucket.take(limit, now, task.batch);
    task.next_token = taken.next;
    if (taken.tokens == 0) return false;
    if (!store_.compare_and_set({key, std::to_string(bucket.full_at), taken.ttl}, entry ? entry->version : 0))
      continue;
    task.tokens = taken.tokens;
    task.tokens_end = now + token_life;
    task.next_token = now;
    return true;
  }
  task.next_token = now + TokenBucket::interval(limit);
  return false;
}

}  // namespace stem
