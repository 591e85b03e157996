#pragma once

#include <atomic>
#include <memory>
#include <stem/error.hpp>

#include "storage/broker.hpp"

namespace stem {

/// A broker that can be cut off, in front of a real one.
struct CutBroker : Broker {
  std::shared_ptr<Broker> inner;
  std::atomic<bool> cut{false};
  std::atomic<int> refused{0};
  std::atomic<bool> fail_next_due{false}, fatal{false};

  explicit CutBroker(std::shared_ptr<Broker> broker) : inner(std::move(broker)) {}
  void check() {
    if (fatal) throw Error(Exit::config, "another schema");
    if (!cut) return;
    ++refused;
    throw Error(Exit::unavailable, "broker cut off");
  }
  std::size_t publish(std::span<const Envelope> jobs) override { return check(), inner->publish(jobs); }
  Exchange exchange(std::span<const Settlement> settled, const Demand& demand) override {
    return check(), inner->exchange(settled, demand);
  }
  std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) override {
    return check(), inner->renew(leases, lease);
  }
  bool keeps_records_of(const Store& store) const override { return inner->keeps_records_of(store); }
  int wake_fd() const override { return inner->wake_fd(); }
  Wake clear_wake() override { return inner->clear_wake(); }
  std::optional<WallTime> next_due(const std::vector<std::string>& queues) override {
    if (fail_next_due.exchange(false)) throw Error(Exit::unavailable, "broker cut off");
    return check(), inner->next_due(queues);
  }
  void broadcast(const std::string& channel, const Envelope& message, Duration ttl) override {
    check(), inner->broadcast(channel, message, ttl);
  }
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) override {
    return check(), inner->listen(channels, limit);
  }
  std::optional<JobView> find(const std::string& id) override { return inner->find(id); }
  std::vector<QueueDepth> depths() override { return inner->depths(); }
  std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) override {
    return inner->dead_letters(queue, limit);
  }
  std::size_t replay(std::span<const std::string> ids) override { return inner->replay(ids); }
  std::size_t purge(std::span<const std::string> ids) override { return inner->purge(ids); }
};

}  // namespace stem
