#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/revocation.hpp"
#include "worker/standing_orders.hpp"

namespace stem {

class Engine;

/// What this worker has to obey now: revoked jobs and paused queues, and that the engine does. For the broker
/// thread; what reads the store throws Error as it does.
class OrdersInForce {
 public:
  /// `engine`, `store` and `clock` outlive it.
  OrdersInForce(Engine& engine, std::string node, StandingOrders orders, const Clock& clock)
      : engine_(engine), node_(std::move(node)), orders_(std::move(orders)), clock_(clock) {}

  /// Reads all of them anew; what is refused is logged when there is more of it. Returns whether other queues
  /// are paused than before.
  bool review();
  /// As review(), of paused queues alone.
  bool review_pauses();

  /// Returns whether a handler runs the job.
  bool revoke(Revocation order);
  /// The order not to run a job, if there is one that holds now.
  const Revocation* revoked(const std::string& job);

  const std::unordered_map<std::string, Revocation>& revocations() const { return revocations_; }
  /// Names, each once, in order.
  std::vector<std::string> paused() const;

 private:
  bool keep_to(std::vector<PausedQueue> paused);

  Engine& engine_;
  const std::string node_;
  StandingOrders orders_;
  const Clock& clock_;
  std::unordered_map<std::string, Revocation> revocations_;
  std::vector<PausedQueue> paused_;
  std::size_t refused_ = 0;
};

}  // namespace stem
