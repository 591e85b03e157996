#include "worker/child_pool.hpp"

#include <unistd.h>

namespace stem {

ChildPool::ChildPool(ForkServer& forks, Rules rules, const Clock& clock, Counters& counters, int wake)
    : forks_(forks), rules_(rules), clock_(clock), counters_(counters), wake_(wake) {
  for (int index = 1; index <= forks.children(); ++index)
    children_.push_back(std::make_unique<PoolChild>(*this, index));
}

PoolChild* ChildPool::claim() {
  return children_.at(static_cast<std::size_t>(claimed_++)).get();
}

void ChildPool::look(bool stopping, bool now) {
  // An executor may have learned of it first: from its child's pipe, before the server's socket was closed.
  if (!groups_ended_ && (lost_ || forks_.lost())) {
    lost_ = groups_ended_ = true;
    // Before any job goes back, to be run beside them.
    for (const auto& child : children_) child->end_group();
  }
  if (now || lost_) close();
  for (const auto& child : children_) child->look(stopping, now);
}

void ChildPool::renew(const std::string& log_level) {
  {
    const std::lock_guard lock(mutex_);
    log_level_ = log_level;
  }
  ++renewed_;
}

void ChildPool::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  changed_.notify_all();
}

void ChildPool::rest(Duration length) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, length, [&] { return closed_.load(); });
}

void ChildPool::nudge() const {
  const std::uint64_t one = 1;
  if (wake_ >= 0) [[maybe_unused]]
    const auto written = write(wake_, &one, sizeof one);
}

std::vector<ChildView> ChildPool::view() const {
  std::vector<ChildView> all;
  for (const auto& child : children_)
    if (auto one = child->view(); one.pid != 0) all.push_back(one);
  return all;
}

}  // namespace stem
