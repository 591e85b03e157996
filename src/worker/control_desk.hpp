#pragma once

#include <functional>
#include <stem/task.hpp>
#include <string>

#include "storage/open.hpp"
#include "worker/control_listener.hpp"
#include "worker/engine_options.hpp"
#include "worker/hearing.hpp"
#include "worker/heartbeat.hpp"
#include "worker/orders_in_force.hpp"
#include "worker/pulse.hpp"
#include "worker/worker_report.hpp"

namespace stem {

class Engine;

/// The worker's side of the control plane: standing orders, orders that come in, heartbeats, in their turn.
/// All on the broker thread; all that talks to the outside world throws Error.
class ControlDesk {
 public:
  /// All of them outlive it.
  ControlDesk(Engine& engine, const EngineOptions& options, const Registry& tasks, const Storage& storage,
              const Clock& clock);

  /// Reads the standing orders and begins to listen; before it, no job may be taken. May be tried again.
  void begin();
  bool begun() const { return begun_; }
  /// Something was broadcast, perhaps to us.
  void wake() { hearing_.wake(); }
  /// Something may have been missed: the broker was away.
  void doubt() { next_review_ = {}; }
  /// When turn() has something to do.
  SteadyTime next() const { return std::min({hearing_.next(), pulse_.next(), next_review_}); }
  void turn();
  /// The worker ends: takes its heartbeat along.
  void leave();

  /// As OrdersInForce::revoked().
  const Revocation* revoked(const std::string& job) { return orders_.revoked(job); }

 private:
  using Payload = Json;
  Payload obey(const ControlRequest& request);
  Payload inspect(const Json& wanted) const;
  Payload revoke(const Json& wanted);
  Payload pause(const Json& wanted);
  Payload queue_status() const;
  Payload shutdown(const ControlRequest& request);

  void require_namespace(const Json& payload) const;
  void beat();
  bool carefully(const char* what, bool& failing, const std::function<void()>& call);

  Engine& engine_;
  const EngineOptions& options_;
  const Storage& storage_;
  const Clock& clock_;
  const std::string host_;
  ControlListener listener_;
  OrdersInForce orders_;
  WorkerReport report_;
  Pulse pulse_;

  bool begun_ = false;
  bool beats_fail_ = false, reviews_fail_ = false;
  Hearing hearing_;
  SteadyTime next_review_{};
};

}  // namespace stem
