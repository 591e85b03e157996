#pragma once

#include <functional>
#include <memory>

#include "storage/store.hpp"

namespace stem {

/// A store, before whose writes something happens.
struct InterposedStore : Store {
  explicit InterposedStore(std::shared_ptr<Store> store) : real(std::move(store)) {}
  std::optional<StoreEntry> get(const std::string& key) override { return real->get(key); }
  bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) override {
    if (before) before(writes);
    return real->put_guarded(writes, guards);
  }
  bool erase(const std::string& key) override { return real->erase(key); }
  std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                               const std::string& after) override {
    return real->list(prefix, limit, after);
  }
  std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) override {
    return real->await(key, version, timeout);
  }
  void stop_waiting() override { real->stop_waiting(); }
  std::size_t sweep() override { return real->sweep(); }

  const std::shared_ptr<Store> real;
  std::function<void(const std::vector<StoreWrite>&)> before;
};

}  // namespace stem
