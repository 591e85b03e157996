#include "storage/memory_store.hpp"

#include <algorithm>

namespace stem {
namespace {

constexpr std::chrono::hours longest_wait{24 * 365};
constexpr std::size_t swept_at_once = 500;

}  // namespace

std::optional<StoreEntry> MemoryStore::get(const std::string& key) {
  const std::lock_guard lock(space_->mutex);
  const auto* const entry = space_->look_up(key, clock_.wall());
  return entry != nullptr ? std::optional(*entry) : std::nullopt;
}

bool MemoryStore::put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  if (!space_->hold(guards, now)) return false;
  for (const auto& write : writes) space_->write(write, now);
  space_->written.notify_all();
  return true;
}

bool MemoryStore::erase(const std::string& key) {
  const std::lock_guard lock(space_->mutex);
  const bool there = space_->look_up(key, clock_.wall()) != nullptr;
  space_->entries.erase(key);
  return there;
}

std::vector<StoreEntry> MemoryStore::list(const std::string& prefix, std::size_t limit,
                                          const std::string& after) {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  std::vector<StoreEntry> found;
  auto entry = after < prefix ? space_->entries.lower_bound(prefix) : space_->entries.upper_bound(after);
  for (; entry != space_->entries.end() && entry->first.starts_with(prefix) && found.size() < limit; ++entry)
    if (space_->look_up(entry->first, now) != nullptr) found.push_back(entry->second);
  return found;
}

std::optional<StoreEntry> MemoryStore::await(const std::string& key, std::int64_t version, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + std::min<Duration>(timeout, longest_wait);
  std::unique_lock lock(space_->mutex);
  const StoreEntry* entry = nullptr;
  space_->written.wait_until(lock, deadline, [&] {
    entry = space_->look_up(key, clock_.wall());
    return stopped_ || (entry != nullptr && entry->version > version);
  });
  return entry != nullptr ? std::optional(*entry) : std::nullopt;
}

void MemoryStore::stop_waiting() {
  const std::lock_guard lock(space_->mutex);
  stopped_ = true;
  space_->written.notify_all();
}

std::size_t MemoryStore::sweep() {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  std::size_t erased = 0;
  for (auto entry = space_->entries.begin(); entry != space_->entries.end() && erased < swept_at_once;) {
    const bool gone = entry->second.expires && *entry->second.expires <= now;
    erased += gone;
    entry = gone ? space_->entries.erase(entry) : std::next(entry);
  }
  return erased;
}

}  // namespace stem
