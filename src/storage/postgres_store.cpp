#include "storage/postgres_store.hpp"

#include <algorithm>
#include <set>

#include "storage/instant.hpp"
#include "storage/postgres_statements.hpp"
#include "storage/postgres_subscription.hpp"

namespace stem {
namespace {

constexpr std::int64_t swept_at_once = 500;   // a few milliseconds; others get their turn in between
constexpr std::chrono::seconds slow_look{5};  // for a notification that was lost with its connection
constexpr std::chrono::hours longest_wait{24 * 365};
constexpr const char* last_character = "\xf4\x8f\xbf\xbf";

/// Of a row of version, end and value.
StoreEntry entry_of(const std::string& key, const PostgresRows& rows, int row) {
  StoreEntry entry{.key = key,
                   .value = std::string(rows.text(row, 2)),
                   .version = rows.number(row, 0),
                   .expires = std::nullopt};
  if (const auto expires = rows.maybe(row, 1)) entry.expires = WallTime(Duration(*expires));
  return entry;
}

}  // namespace

std::vector<PostgresCall> calls_to_put(const std::vector<StoreWrite>& writes, WallTime now) {
  // One statement cannot write a row twice. Sorted, so that two who write the same keys wait for each other
  // in line.
  std::vector<const StoreWrite*> last;
  for (const auto& write : writes) last.push_back(&write);
  std::stable_sort(last.begin(), last.end(), [](const auto* a, const auto* b) { return a->key < b->key; });
  std::vector<PostgresCall> calls;
  for (std::size_t i = 0; i < last.size();) {
    PostgresArray keys(PostgresArray::Of::text), values(PostgresArray::Of::bytea),
        ends(PostgresArray::Of::bigint);
    for (; i < last.size() && keys.size() < postgres::most_entries; ++i) {
      if (i + 1 < last.size() && last[i + 1]->key == last[i]->key) continue;
      keys.add(last[i]->key);
      values.add(last[i]->value);
      ends.add(last[i]->ttl == Duration{} ? std::nullopt : std::optional(micros(now + last[i]->ttl)));
    }
    if (keys.size() > 0)
      calls.push_back({postgres::put, PostgresParameters().add(keys).add(values).add(ends)});
  }
  return calls;
}

std::vector<PostgresCall> calls_to_guard(std::vector<StoreGuard> guards, WallTime now) {
  // In the order of keys, so that two who are after the same wait for each other in line.
  std::sort(guards.begin(), guards.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  std::vector<PostgresCall> calls{{postgres::begin}};
  for (const auto& guard : guards) {
    PostgresParameters parameters;
    parameters.add(guard.key).add(micros(now));
    if (guard.version != 0) parameters.add(guard.version);
    calls.push_back({guard.version == 0 ? postgres::guard_absent : postgres::guard, parameters});
  }
  return calls;
}

bool hold(const std::vector<PostgresRows>& rows) {
  return std::all_of(rows.begin() + 1, rows.end(), [](const auto& one) { return one.count() > 0; });
}

std::optional<StoreEntry> PostgresStore::get(const std::string& key) {
  const auto rows = client_->run(postgres::get, PostgresParameters().add(key).add(micros(clock_.wall())));
  return rows.count() == 0 ? std::nullopt : std::optional(entry_of(key, rows, 0));
}

bool PostgresStore::put_guarded(const std::vector<StoreWrite>& writes,
                                const std::vector<StoreGuard>& guards) {
  if (writes.empty() && guards.empty()) return true;
  const auto now = clock_.wall();
  std::vector<PostgresCall> afterwards;
  if (!writes.empty())
    afterwards.push_back({postgres::notify, PostgresParameters().add(client_->channel("records"))});
  if (guards.empty()) {
    client_->run(calls_to_put(writes, now), afterwards);
    return true;
  }
  if (guards.size() == 1 && writes.size() == 1 && guards[0].key == writes[0].key) {
    const auto& write = writes[0];
    const auto expected = guards[0].version;
    PostgresParameters parameters;
    parameters.add(write.key)
        .add(write.value)
        .add(write.ttl == Duration{} ? 0 : micros(now + write.ttl))
        .add(micros(now));
    if (expected != 0) parameters.add(expected);
    return client_
               ->run({{expected == 0 ? postgres::set_if_absent : postgres::set_if_version, parameters}},
                     afterwards)
               .at(0)
               .count() > 0;
  }
  auto calls = calls_to_put(writes, now);
  calls.push_back({postgres::commit});
  bool held = false;
  client_->converse([&](PostgresConnection& connection) {
    held = hold(connection.run(calls_to_guard(guards, now)));
    if (held)
      connection.run(calls, afterwards);
    else
      connection.run({{postgres::rollback}});
  });
  return held;
}

bool PostgresStore::erase(const std::string& key) {
  const auto rows = client_->run(postgres::erase, PostgresParameters().add(key).add(micros(clock_.wall())));
  return rows.count() > 0 && rows.number(0, 0) != 0;
}

std::vector<StoreEntry> PostgresStore::list(const std::string& prefix, std::size_t limit,
                                            const std::string& after) {
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX));
  const auto rows = client_->run(postgres::list, PostgresParameters()
                                                     .add(prefix)
                                                     .add(prefix + last_character)
                                                     .add(after)
                                                     .add(micros(clock_.wall()))
                                                     .add(most));
  std::vector<StoreEntry> found;
  for (int row = 0; row < rows.count(); ++row)
    found.push_back(entry_of(std::string(rows.text(row, 3)), rows, row));
  return found;
}

WakeListener<ServerWatch>& PostgresStore::listener() {
  const std::lock_guard lock(mutex_);
  if (!listener_)
    listener_ = std::make_unique<WakeListener<ServerWatch>>(
        postgres_subscription(client_->address(), client_->channel("records")));
  return *listener_;
}

std::optional<StoreEntry> PostgresStore::await(const std::string& key, std::int64_t version,
                                               Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + std::min<Duration>(timeout, longest_wait);
  auto& notifications = listener();
  for (;;) {
    const auto heard = notifications.heard();
    auto found = get(key);
    if (found && found->version > version) return found;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline || stopped_) return found;
    notifications.wait(heard, std::min(deadline, now + slow_look));
  }
}

void PostgresStore::stop_waiting() {
  stopped_ = true;
  const std::lock_guard lock(mutex_);
  if (listener_) listener_->watch().poke();
}

std::size_t PostgresStore::sweep() {
  const auto rows =
      client_->run({{postgres::sweep, PostgresParameters().add(micros(clock_.wall())).add(swept_at_once)},
                    {postgres::forget_marks}});
  return static_cast<std::size_t>(rows.at(0).number(0, 0));
}

}  // namespace stem
