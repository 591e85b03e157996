#pragma once

#include <stem/task.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "storage/open.hpp"
#include "worker/control_listener.hpp"
#include "worker/engine_options.hpp"
#include "worker/hearing.hpp"
#include "worker/heartbeat.hpp"
#include "worker/standing_orders.hpp"

namespace stem {

class Engine;

/// The worker's side of the control plane: standing orders, orders that come in, heartbeats. All on the
/// broker thread; all that talks to the outside world throws Error.
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
  SteadyTime next() const { return std::min({hearing_.next(), next_beat_, next_review_}); }
  void turn();
  /// The worker ends: takes its heartbeat along.
  void leave();

  /// The order not to run a job, if there is one that holds now.
  const Revocation* revoked(const std::string& job);

 private:
  using Payload = Json;
  Payload obey(const ControlRequest& request);
  Payload ping() const;
  Payload stats() const;
  Payload inspect(const Json& wanted);
  Payload revoke(const Json& wanted);
  Payload pause(const Json& wanted);
  Payload queue_status() const;
  Payload shutdown(const ControlRequest& request);
  Payload watch(const Json& wanted);

  Json facts() const;
  Json active() const;
  Json subscriptions() const;
  Duration beat_pause(SteadyTime now) const;
  std::vector<std::string> paused_names() const;
  void require_namespace(const Json& payload) const;
  void review();
  void review_pauses();
  void keep_to(std::vector<PausedQueue> paused);
  void beat();
  bool carefully(const char* what, bool& failing, const std::function<void()>& call);

  Engine& engine_;
  const EngineOptions& options_;
  const Registry& tasks_;
  const Storage& storage_;
  const Clock& clock_;
  const std::string host_;
  StandingOrders orders_;
  ControlListener listener_;
  const WallTime started_;

  bool begun_ = false;
  bool beats_fail_ = false, reviews_fail_ = false;
  Hearing hearing_;
  SteadyTime next_beat_{}, next_review_{};
  std::unordered_map<std::string, Revocation> revocations_;
  std::vector<PausedQueue> paused_;
  std::size_t refused_orders_ = 0;
  Duration watched_every_{};
  SteadyTime watched_until_{};  ///< until then somebody looks on, and heartbeats come more often
  struct Counted {
    SteadyTime at{};
    std::uint64_t done = 0, failed = 0, retried = 0;
  } counted_;  ///< at the last heartbeat
};

}  // namespace stem
