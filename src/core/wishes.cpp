#include "core/wishes.hpp"

#include <algorithm>
#include <cmath>
#include <stem/error.hpp>

#include "core/milliseconds.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr const char* policy_key = "stem.retryPolicy";
constexpr const char* expires_key = "stem.expiresAt";
constexpr const char* ttl_key = "stem.resultTtlMs";
constexpr const char* ignore_key = "stem.ignoreResult";
constexpr std::int64_t longest_ms = std::int64_t{100} * 366 * 24 * 3600 * 1000;

std::optional<Duration> length_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const auto value = found->get<double>();
  if (!(value >= 0)) return std::nullopt;
  return milliseconds{static_cast<std::int64_t>(std::min(value, static_cast<double>(longest_ms)))};
}

bool yes(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (!value.is_string()) return false;
  const auto text = value.get<std::string>();
  return text == "true" || text == "1" || text == "yes";
}

/// `backoff`, `jitter`, `defaultDelayMs` and `backoffMaxMs` as other implementations have them; `factor` and
/// `jitterPart` are Stem's own, and say the same more exactly.
std::optional<RetryPolicy> policy_in(const Json& object) {
  const auto delay = length_in(object, "defaultDelayMs");
  const auto backoff = object.find("backoff");
  if (!delay && backoff == object.end()) return std::nullopt;
  RetryPolicy policy;
  const bool grows = backoff != object.end() && yes(*backoff);
  policy.cap = length_in(object, "backoffMaxMs").value_or(policy.cap);
  policy.base = delay.value_or(Duration{});
  if (grows && policy.base == Duration{}) policy.base = policy.cap;
  if (!grows) policy.cap = std::max(policy.cap, policy.base);
  policy.base = std::min(policy.base, policy.cap);
  policy.factor = grows ? 2.0 : 1.0;
  const auto jitter = object.find("jitter");
  policy.jitter = !grows || (jitter != object.end() && !yes(*jitter)) ? 0.0 : 0.25;
  const auto exactly = [&](const char* key, double low, double high, double& value) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number()) value = std::clamp(found->get<double>(), low, high);
  };
  exactly("factor", 1.0, 100.0, policy.factor);
  exactly("jitterPart", 0.0, 1.0, policy.jitter);
  return policy;
}

}  // namespace

void put_wishes(Envelope& envelope, const Wishes& wishes) {
  auto& meta = envelope.meta;
  if (wishes.max_retries) meta[policy_key]["maxRetries"] = *wishes.max_retries;
  if (const auto& retry = wishes.retry) {
    auto& policy = meta[policy_key];
    policy["backoff"] = retry->factor > 1.0;
    policy["backoffMaxMs"] = ms(retry->cap);
    policy["defaultDelayMs"] = ms(retry->base);
    policy["jitter"] = retry->jitter > 0.0;
    policy["factor"] = retry->factor;
    policy["jitterPart"] = retry->jitter;
  }
  if (wishes.expires) meta[expires_key] = format_time(*wishes.expires);
  if (wishes.result_ttl) meta[ttl_key] = ms(*wishes.result_ttl);
  if (wishes.ignore_result) meta[ignore_key] = true;
}

Wishes wishes_of(const Envelope& envelope) {
  Wishes wishes;
  const auto& meta = envelope.meta;
  // Most jobs ask for nothing, and this is on every job's way.
  if (!meta.is_object() || meta.empty() || (meta.size() == 1 && meta.begin().key() == "stem.task"))
    return wishes;
  if (const auto policy = meta.find(policy_key); policy != meta.end() && policy->is_object()) {
    if (const auto asked = policy->find("maxRetries"); asked != policy->end() && asked->is_number_integer())
      wishes.max_retries = static_cast<int>(std::clamp<std::int64_t>(asked->get<std::int64_t>(), 0, 1000000));
    wishes.retry = policy_in(*policy);
  }
  if (const auto expires = meta.find(expires_key); expires != meta.end() && !expires->is_null()) {
    if (!expires->is_string())
      throw Error(Exit::data, "malformed envelope: 'stem.expiresAt' must be an ISO 8601 time");
    wishes.expires = parse_time(expires->get_ref<const std::string&>());
  }
  if (const auto ttl = length_in(meta, ttl_key); ttl && *ttl > Duration{}) wishes.result_ttl = ttl;
  if (const auto ignore = meta.find(ignore_key); ignore != meta.end()) wishes.ignore_result = yes(*ignore);
  return wishes;
}

}  // namespace stem
