#include "worker/orders_in_force.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "worker/engine.hpp"

namespace stem {

bool OrdersInForce::review() {
  auto all = orders_.read();
  if (all.refused.size() > refused_)
    spdlog::warn("{} standing orders are not obeyed, such as {}", all.refused.size(), all.refused.front());
  refused_ = all.refused.size();
  revocations_.clear();
  for (auto& one : all.revocations) revocations_.insert_or_assign(one.job, std::move(one));
  const bool changed = keep_to(std::move(all.paused));
  for (const auto& [job, revocation] : revocations_) engine_.revoke(revocation);
  return changed;
}

bool OrdersInForce::review_pauses() {
  return keep_to(orders_.paused());
}

bool OrdersInForce::keep_to(std::vector<PausedQueue> paused) {
  std::erase_if(paused, [&](const auto& one) { return !one.node.empty() && one.node != node_; });
  const bool changed = paused != paused_;
  paused_ = std::move(paused);
  engine_.pause(this->paused());
  return changed;
}

std::vector<std::string> OrdersInForce::paused() const {
  std::set<std::string> names;
  for (const auto& one : paused_) names.insert(one.queue);
  return {names.begin(), names.end()};
}

bool OrdersInForce::revoke(Revocation order) {
  const bool runs = engine_.revoke(order);
  const auto job = order.job;
  revocations_.insert_or_assign(job, std::move(order));
  return runs;
}

const Revocation* OrdersInForce::revoked(const std::string& job) {
  if (revocations_.empty()) return nullptr;
  const auto found = revocations_.find(job);
  if (found == revocations_.end()) return nullptr;
  if (found->second.holds(clock_.wall())) return &found->second;
  revocations_.erase(found);
  return nullptr;
}

}  // namespace stem
