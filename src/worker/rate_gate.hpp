#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stem/rate_limit.hpp>
#include <stem/time.hpp>
#include <string>

#include "storage/store.hpp"

namespace stem {

/// Lets jobs of limited tasks begin as fast as all workers of a namespace together may. The buckets are in
/// the store, under `rate:NAMESPACE/TASK`. A task that needs more than some eighty tokens a second takes
/// several at once, and uses them up within `token_life` or not at all; so a quick task costs no round trip a
/// job, and jobs begin that much late at the most. Thread-safe; a call may wait for the store.
class RateGate {
 public:
  /// `store` and `clock` outlive it.
  RateGate(Store& store, const Clock& clock, std::string name_space)
      : store_(store), clock_(clock), name_space_(std::move(name_space)) {}

  /// Empty: a job may begin. Else when it should come again. Jobs that are sent away get turns one after
  /// another, as the tokens come, so that they do not all come at once; those whose turn would be more than
  /// `longest_wait` away are to ask again, in half as long at the least. Throws
  /// Error as Store does: a limit protects somebody, so nothing begins without the store.
  std::optional<WallTime> pass(const std::string& task, const RateLimit& limit);

  static constexpr Duration token_life = std::chrono::milliseconds{50};
  static constexpr Duration longest_wait = std::chrono::hours{1};

 private:
  struct Task {
    std::mutex mutex{};
    int tokens = 0;         ///< taken from the store, and not used yet
    WallTime tokens_end{};  ///< then they are void
    int batch = 1;          ///< how many to take at once; follows the demand
    WallTime next_token{};  ///< the store has none before
    WallTime next_turn{};   ///< of the next job that is sent away
    WallTime promised{};    ///< a token that a job waits for out of turn
    Duration spread{};      ///< of those that have no turn yet
  };

  Task& task_called(const std::string& name);
  bool take(Task& task, const std::string& key, const RateLimit& limit, WallTime now);

  Store& store_;
  const Clock& clock_;
  const std::string name_space_;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Task>> tasks_;
};

}  // namespace stem
