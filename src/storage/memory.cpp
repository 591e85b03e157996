#include "storage/memory.hpp"

#include <map>

#include "storage/memory_broker.hpp"
#include "storage/memory_store.hpp"

namespace stem {

Storage open_memory(const std::string& name, const Clock& clock) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<MemorySpace>> spaces;
  const std::lock_guard lock(mutex);
  auto& space = spaces[name];
  if (!space) space = std::make_shared<MemorySpace>();
  return {std::make_shared<MemoryBroker>(space, clock), std::make_shared<MemoryStore>(space, clock)};
}

}  // namespace stem
