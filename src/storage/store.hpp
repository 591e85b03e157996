#pragma once

#include <cstdint>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <vector>

namespace stem {

/// One value to be remembered. `ttl` 0 = for good.
struct StoreWrite {
  std::string key;
  std::string value;
  Duration ttl{};
};

/// A remembered value. The version grows with each write of the key and is never 0.
struct StoreEntry {
  std::string key;
  std::string value;
  std::int64_t version = 0;
  std::optional<WallTime> expires;
};

/// A value that must still be of this version for a write to happen: the version is the lock's fencing token.
/// 0 = the key must be absent.
struct StoreGuard {
  std::string key;
  std::int64_t version = 0;
};

/// Remembers. Keys are text (`result:ID`, `schedule:ID`); an expired value is as good as absent. Thread-safe.
/// Throws Error as Broker does.
class Store {
 public:
  virtual ~Store() = default;

  virtual std::optional<StoreEntry> get(const std::string& key) = 0;
  /// All of them in one commit, if all guards hold by now. Returns whether they did; if not, nothing is
  /// written.
  virtual bool put_guarded(const std::vector<StoreWrite>& writes, const std::vector<StoreGuard>& guards) = 0;
  void put(const std::vector<StoreWrite>& writes) { put_guarded(writes, {}); }
  /// Writes only if the key's version is `expected` (0 = the key is absent). Returns whether it did.
  bool compare_and_set(const StoreWrite& write, std::int64_t expected) {
    return put_guarded({write}, {{write.key, expected}});
  }
  virtual bool erase(const std::string& key) = 0;
  /// Entries whose key starts with `prefix`, sorted by key, from the one after `after`.
  virtual std::vector<StoreEntry> list(const std::string& prefix, std::size_t limit,
                                       const std::string& after = {}) = 0;

  /// Blocks until the key's version is above `version` or `timeout` has passed; then what is there. Woken by
  /// writes of any process, not by polling.
  virtual std::optional<StoreEntry> await(const std::string& key, std::int64_t version, Duration timeout) = 0;
  /// From now on await() of this object returns at once, with what is there, and so do those that wait now.
  virtual void stop_waiting() = 0;
  /// Deletes some hundred expired values at most, so that it takes a few milliseconds; returns how many. 0 =
  /// nothing is left. Workers call it now and then, and again until it returns 0.
  virtual std::size_t sweep() = 0;
};

}  // namespace stem
