#pragma once

#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace stem {

/// Where a worker's jobs come from: the queues that it serves, those of them from which nothing is taken now,
/// and the broadcast channels that it listens on. Thread-safe.
class Subscriptions {
 public:
  explicit Subscriptions(std::vector<std::string> queues, std::vector<std::string> channels = {})
      : queues_(std::move(queues)), channels_(std::move(channels)) {}

  void serve(std::vector<std::string> queues, std::vector<std::string> channels);
  /// From now on exactly these are paused, whether they are served or not. Returns whether that is a change.
  bool pause(const std::vector<std::string>& queues);

  std::vector<std::string> queues() const;
  std::vector<std::string> paused() const;  ///< of the queues
  std::vector<std::string> open() const;    ///< the queues that are not paused
  std::vector<std::string> channels() const;

 private:
  std::vector<std::string> queues_that(bool paused) const;

  mutable std::mutex mutex_;
  std::vector<std::string> queues_, channels_;
  std::set<std::string> paused_;
};

}  // namespace stem
