#include <iostream>

#include "cli/commands.hpp"
#include "cli/queue_view.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

int show(const Common& common) {
  const auto storage = open_storage(load_config(common));
  const auto queues = queue_states(storage.broker->depths(), Clock::system().wall());
  if (common.json) {
    auto rows = Json::array();
    for (const auto& queue : queues) rows.push_back(to_json(queue, QueueColumns::depth));
    std::cout << rows.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    std::cout << (queues.empty() ? "no queue holds a job\n" : queue_table(queues, QueueColumns::depth));
  }
  return 0;
}

}  // namespace

Work define_queues(CLI::App&, Common& common) {
  return [&common] { return show(common); };
}

}  // namespace stem::cli
