#pragma once

#include <memory>

#include "core/descriptor.hpp"
#include "storage/broker.hpp"
#include "storage/memory_space.hpp"

namespace stem {

/// The broker inside one process: for tests, and for programs that need no queue beyond themselves.
class MemoryBroker : public Broker {
 public:
  MemoryBroker(std::shared_ptr<MemorySpace> space, const Clock& clock);
  ~MemoryBroker() override;

  std::size_t publish(std::span<const Envelope> jobs) override;
  bool publishes_with(const Store& store) const override { return keeps_records_of(store); }
  std::optional<std::size_t> publish_guarded(std::span<const Envelope> jobs,
                                             const std::vector<StoreGuard>& guards,
                                             const std::vector<StoreWrite>& records) override;
  Exchange exchange(std::span<const Settlement> settled, const Demand& demand) override;
  std::vector<Receipt> renew(std::span<const Receipt> leases, Duration lease) override;
  bool keeps_records_of(const Store& store) const override;
  int wake_fd() const override { return wake_.get(); }
  Wake clear_wake() override;
  std::optional<WallTime> next_due(const std::vector<std::string>& queues) override;
  void broadcast(const std::string& channel, const Envelope& message, Duration ttl) override;
  std::vector<Broadcast> listen(std::vector<Listening>& channels, std::size_t limit) override;
  std::optional<JobView> find(const std::string& id) override;
  std::vector<QueueDepth> depths() override;
  std::vector<DeadJob> dead_letters(const std::string& queue, std::size_t limit) override;
  std::size_t replay(std::span<const std::string> ids) override;
  std::size_t purge(std::span<const std::string> ids) override;

 private:
  using Job = MemorySpace::Job;

  // All of these hold the space's mutex.
  Job* held(const Receipt& receipt);
  void line_up(std::int64_t number, Job& job, WallTime due, WallTime now);
  void leave_line(std::int64_t number, const Job& job);
  void forget(std::int64_t number);
  bool settle(const Settlement& settlement, WallTime now);
  void lease(const Demand& demand, WallTime now, std::vector<Delivery>& deliveries);
  Job* dead(const std::string& id);

  const std::shared_ptr<MemorySpace> space_;
  const Clock& clock_;
  Descriptor wake_;
};

}  // namespace stem
