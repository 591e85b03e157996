#include "storage/redis_store.hpp"
#include "storage/redis_subscription.hpp"

#include <algorithm>
#include <charconv>

namespace stem {
namespace {

constexpr std::int64_t swept_at_once = 500;   // a few milliseconds; others get their turn in between
constexpr std::chrono::seconds slow_look{5};  // for a message that was lost with its connection
constexpr std::chrono::hours longest_wait{24 * 365};

/// `VERSION EXPIRES VALUE`
StoreEntry entry_of(std::string_view key, std::string_view text) {
  StoreEntry entry{.key = std::string(key), .value = {}, .version = 0, .expires = std::nullopt};
  std::int64_t expires = 0;
  const auto* const end = text.data() + text.size();
  auto rest = std::from_chars(text.data(), end, entry.version).ptr;
  if (rest != end) rest = std::from_chars(rest + 1, end, expires).ptr;
  if (rest == end)
    throw Error(Exit::data, "a value that Redis holds under " + entry.key + " was not written by Stem");
  entry.value.assign(rest + 1, end);
  if (expires > 0) entry.expires = WallTime(Duration(expires));
  return entry;
}

}  // namespace

RedisCommand RedisStore::words() const {
  return RedisCommand().add(clock_.wall().time_since_epoch().count()).add(client_->channel("records"));
}

std::optional<StoreEntry> RedisStore::get(const std::string& key) {
  const auto replies = client_->ask({{"HGET", client_->key("values"), key}});
  if (replies[0]->is_nil()) return std::nullopt;
  auto entry = entry_of(key, replies[0]->text);
  if (entry.expires && *entry.expires <= clock_.wall()) return std::nullopt;
  return entry;
}

bool RedisStore::put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) {
  if (writes.empty() && guards.empty()) return true;
  auto all = words().add(static_cast<std::int64_t>(guards.size()));
  for (const auto& guard : guards) all.add(guard.key).add(guard.version);
  for (const auto& write : writes) all.add(write.key).add(write.value).add(write.ttl.count());
  return client_->run(RedisScript::put, all)->number() != 0;
}

bool RedisStore::erase(const std::string& key) {
  return client_
             ->run(RedisScript::erase, RedisCommand().add(clock_.wall().time_since_epoch().count()).add(key))
             ->number() != 0;
}

std::vector<StoreEntry> RedisStore::list(const std::string& prefix, std::size_t limit,
                                         const std::string& after) {
  std::vector<StoreEntry> found;
  if (limit == 0) return found;
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT32_MAX));
  const auto reply = client_->run(
      RedisScript::list,
      RedisCommand().add(clock_.wall().time_since_epoch().count()).add(prefix).add(after).add(most));
  for (std::size_t i = 0; i + 1 < reply->size(); i += 2)
    found.push_back(entry_of((*reply)[i].text, (*reply)[i + 1].text));
  return found;
}

WakeListener<ServerWatch>& RedisStore::listener() {
  const std::lock_guard lock(mutex_);
  if (!listener_)
    listener_ = std::make_unique<WakeListener<ServerWatch>>(
        redis_subscription(client_->address(), client_->channel("records")));
  return *listener_;
}

std::optional<StoreEntry> RedisStore::await(const std::string& key, std::int64_t version, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + std::min<Duration>(timeout, longest_wait);
  auto& messages = listener();
  for (;;) {
    const auto heard = messages.heard();
    auto found = get(key);
    if (found && found->version > version) return found;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline || stopped_) return found;
    messages.wait(heard, std::min(deadline, now + slow_look));
  }
}

void RedisStore::stop_waiting() {
  stopped_ = true;
  const std::lock_guard lock(mutex_);
  if (listener_) listener_->watch().poke();
}

std::size_t RedisStore::sweep() {
  return static_cast<std::size_t>(
      client_
          ->run(RedisScript::sweep,
                RedisCommand().add(clock_.wall().time_since_epoch().count()).add(swept_at_once))
          ->number());
}

}  // namespace stem
