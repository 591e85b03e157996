#pragma once

#include <memory>

#include "storage/memory_space.hpp"
#include "storage/store.hpp"

namespace stem {

/// The store inside one process.
class MemoryStore : public Store {
 public:
  MemoryStore(std::shared_ptr<MemorySpace> space, const Clock& clock)
      : space_(std::move(space)), clock_(clock) {}

  std::optional<StoreEntry> get(const std::string& key) override;
  bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override;
  bool erase(const std::string& key) override;
  std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                               const std::string& after) override;
  std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) override;
  void stop_waiting() override;
  std::size_t sweep() override;

  const MemorySpace* space() const { return space_.get(); }

 private:
  const std::shared_ptr<MemorySpace> space_;
  const Clock& clock_;
  bool stopped_ = false;  // guarded by the space's mutex
};

}  // namespace stem
