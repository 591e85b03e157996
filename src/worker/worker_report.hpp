#pragma once

#include <set>
#include <stem/json.hpp>
#include <stem/task.hpp>
#include <string>

#include "storage/open.hpp"
#include "worker/control_listener.hpp"
#include "worker/engine_options.hpp"
#include "worker/orders_in_force.hpp"

namespace stem {

class Engine;

/// What a worker tells of itself: the facts of its heartbeats, and its answers to ping, stats and inspect, as
/// docs/control-plane.md has them. For the broker thread.
class WorkerReport {
 public:
  /// All of them outlive it.
  WorkerReport(const Engine& engine, const EngineOptions& options, const Registry& tasks,
               const Storage& storage, const OrdersInForce& orders, const ControlListener& listener,
               std::string host, const Clock& clock)
      : engine_(engine),
        options_(options),
        tasks_(tasks),
        storage_(storage),
        orders_(orders),
        listener_(listener),
        host_(std::move(host)),
        clock_(clock),
        started_(clock.wall()) {}

  Json facts() const;
  Json ping() const;
  Json stats() const;
  /// Those parts, or all if none is named. Throws Error as Broker::depths().
  Json inspect(const std::set<std::string>& parts) const;
  Json subscriptions() const;
  /// The jobs that handlers run, as far as they are shown.
  Json active() const;

 private:
  Json reserved() const;
  Json scheduled() const;
  Json registered() const;
  Json revoked() const;

  const Engine& engine_;
  const EngineOptions& options_;
  const Registry& tasks_;
  const Storage& storage_;
  const OrdersInForce& orders_;
  const ControlListener& listener_;
  const std::string host_;
  const Clock& clock_;
  const WallTime started_;
};

}  // namespace stem
