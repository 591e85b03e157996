#include "cli/queue_order.hpp"

namespace stem::cli {

Json QueueOrder::payload(const std::string& name_space) const {
  return {{"namespace", name_space}, {"queues", queues}, {"reason", reason}, {"requester", requester}};
}

void remember(const QueueOrder& order, Fleet& fleet) {
  if (order.resume) return fleet.orders().resume(order.queues, order.nodes);
  const auto nodes = order.nodes.empty() ? std::vector<std::string>{""} : order.nodes;
  std::vector<PausedQueue> all;
  for (const auto& queue : order.queues)
    for (const auto& node : nodes)
      all.push_back({.queue = queue,
                     .node = node,
                     .reason = order.reason,
                     .requester = order.requester,
                     .since = Clock::system().wall()});
  fleet.orders().pause(all);
}

}  // namespace stem::cli
