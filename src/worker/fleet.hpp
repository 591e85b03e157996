#pragma once

#include <functional>
#include <optional>
#include <stem/config.hpp>
#include <stem/signing.hpp>
#include <string>
#include <vector>

#include "core/control_message.hpp"
#include "storage/open.hpp"
#include "worker/heartbeat.hpp"
#include "worker/standing_orders.hpp"

namespace stem {

/// What one worker answered, or did not.
struct FleetAnswer {
  enum class Kind {
    done,
    refused,  ///< it answered with an error
    silent,   ///< it lives by its heartbeat, and did not answer in time
    ended,    ///< it ended while we waited
    absent    ///< nobody of that name lives
  };
  std::string node;
  std::string host;
  Kind kind = Kind::silent;
  Json payload = Json::object();
  std::string error;  ///< why not done
  Duration took{};

  bool ok() const { return kind == Kind::done; }
};

/// The workers of a namespace, from outside. One thread.
class Fleet {
 public:
  /// Throws Error (exit 78) as PayloadSigner::maybe() does. `clock` outlives it.
  Fleet(const Config& config, Storage storage, const Clock& clock = Clock::system());

  /// Those that live, by their heartbeats; of `nodes` only, unless it is empty.
  std::vector<Heartbeat> alive(const std::vector<std::string>& nodes = {});
  /// Tells the nodes, or all, and waits until each that lives has answered, or `timeout`. By node and host; a
  /// named node that does not live is absent. Throws Error: 69 where the broker is away, 78 if orders must be
  /// signed and cannot be.
  std::vector<FleetAnswer> ask(const std::string& type, const Json& payload,
                               const std::vector<std::string>& nodes, Duration timeout);

  /// Tells them as ask() does, and waits for nobody. The order ends after `ttl`.
  void tell(const std::string& type, const Json& payload, const std::vector<std::string>& nodes,
            Duration ttl);

  StandingOrders& orders() { return orders_; }
  const std::string& name_space() const { return name_space_; }
  Broker& broker() { return *storage_.broker; }
  Store& results() { return *storage_.results; }

 private:
  std::optional<ControlReply> reply_of(const Broadcast& said, const std::string& request) const;
  void say(const ControlRequest& request, Duration ttl);

  const Storage storage_;
  const Clock& clock_;
  const std::string name_space_;
  const bool answers_are_signed_;  ///< workers can sign: with HMAC whoever verifies has the key
  const std::optional<PayloadSigner> signer_;
  StandingOrders orders_;
};

}  // namespace stem
