#include "storage/redis_leases.hpp"

namespace stem {

Receipt RedisLeases::add(Lease lease) {
  const std::lock_guard lock(mutex_);
  const Receipt receipt{.job = ++number_, .token = lease.token};
  leases_[receipt.job] = std::move(lease);
  return receipt;
}

std::optional<RedisLeases::Lease> RedisLeases::held(const Receipt& receipt) const {
  const std::lock_guard lock(mutex_);
  const auto lease = leases_.find(receipt.job);
  if (lease == leases_.end() || lease->second.token != receipt.token) return std::nullopt;
  return lease->second;
}

void RedisLeases::drop(const Receipt& receipt) {
  const std::lock_guard lock(mutex_);
  const auto lease = leases_.find(receipt.job);
  if (lease != leases_.end() && lease->second.token == receipt.token) leases_.erase(lease);
}

}  // namespace stem
