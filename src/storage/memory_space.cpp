#include "storage/memory_space.hpp"

#include <unistd.h>

#include <algorithm>

namespace stem {

void MemorySpace::wake() const {
  const std::uint64_t one = 1;
  for (const int fd : wake_fds) (void)!::write(fd, &one, sizeof one);
}

void MemorySpace::write(const StoreWrite& write, WallTime now) {
  entries.insert_or_assign(
      write.key,
      StoreEntry{.key = write.key,
                 .value = write.value,
                 .version = next(),
                 .expires = write.ttl == Duration{} ? std::nullopt : std::optional(now + write.ttl)});
}

const StoreEntry* MemorySpace::look_up(const std::string& key, WallTime now) const {
  const auto found = entries.find(key);
  if (found == entries.end() || (found->second.expires && *found->second.expires <= now)) return nullptr;
  return &found->second;
}

bool MemorySpace::hold(const std::vector<StoreGuard>& guards, WallTime now) const {
  return std::all_of(guards.begin(), guards.end(), [&](const StoreGuard& guard) {
    const auto* const entry = look_up(guard.key, now);
    return (entry != nullptr ? entry->version : 0) == guard.version;
  });
}

}  // namespace stem
