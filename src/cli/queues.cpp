#include <iostream>

#include "cli/commands.hpp"
#include "cli/table.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

int show(const Common& common) {
  const auto storage = open_storage(load_config(common));
  const auto now = Clock::system().wall();
  const auto age = [&](const QueueDepth& depth) {
    return depth.oldest_ready ? std::optional(std::max(Duration::zero(), now - *depth.oldest_ready))
                              : std::nullopt;
  };
  const auto depths = storage.broker->depths();
  if (common.json) {
    auto rows = Json::array();
    for (const auto& depth : depths) {
      const auto waited = age(depth);
      rows.push_back({{"queue", depth.queue},
                      {"ready", depth.ready},
                      {"delayed", depth.delayed},
                      {"leased", depth.leased},
                      {"dead", depth.dead},
                      {"oldestReadyMs",
                       waited ? Json(duration_cast<std::chrono::milliseconds>(*waited).count()) : Json()}});
    }
    std::cout << rows.dump(2) << '\n';
    return 0;
  }
  Table table({"QUEUE", "READY", "DELAYED", "LEASED", "DEAD", "LONGEST WAIT"});
  for (const auto& depth : depths) {
    const auto waited = age(depth);
    table.add({depth.queue, std::to_string(depth.ready), std::to_string(depth.delayed),
               std::to_string(depth.leased), std::to_string(depth.dead),
               waited ? format_duration(std::chrono::floor<std::chrono::seconds>(*waited)) : "-"});
  }
  std::cout << (table.empty() ? "no queue holds a job\n" : table.text());
  return 0;
}

}  // namespace

Work define_queues(CLI::App&, Common& common) {
  return [&common] { return show(common); };
}

}  // namespace stem::cli
