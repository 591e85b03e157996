#include "cli/queue_view.hpp"

#include "cli/node_view.hpp"
#include "cli/table.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t most_named = 4;

}  // namespace

std::string short_list(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < most_named; ++i) text += (i ? "," : "") + plain(names[i]);
  if (names.size() > most_named) text += " +" + std::to_string(names.size() - most_named);
  return text.empty() ? "-" : text;
}

std::string pause_words(const QueueState& queue) {
  if (queue.paused_for_all()) return "yes";
  std::vector<std::string> nodes;
  for (const auto& pause : queue.pauses) nodes.push_back(pause.node);
  return nodes.empty() ? "-" : "on " + short_list(nodes);
}

std::string queue_table(const std::vector<QueueState>& queues, QueueColumns columns) {
  std::vector<std::string> headings{"QUEUE", "READY", "DELAYED", "LEASED", "DEAD", "LONGEST WAIT"};
  const bool service = columns == QueueColumns::service;
  if (service) headings.insert(headings.end(), {"WORKERS", "PAUSED"});
  Table table(headings);
  for (const auto& queue : queues) {
    const auto& depth = queue.depth;
    std::vector<std::string> row{
        plain(depth.queue),
        std::to_string(depth.ready),
        std::to_string(depth.delayed),
        std::to_string(depth.leased),
        std::to_string(depth.dead),
        queue.lag ? format_duration(std::chrono::floor<std::chrono::seconds>(*queue.lag)) : "-"};
    if (service) row.insert(row.end(), {short_list(queue.workers), pause_words(queue)});
    table.add(std::move(row));
  }
  return table.text();
}

Json to_json(const QueueState& queue, QueueColumns columns) {
  const auto& depth = queue.depth;
  Json row{{"queue", depth.queue},
           {"ready", depth.ready},
           {"delayed", depth.delayed},
           {"leased", depth.leased},
           {"dead", depth.dead},
           {"oldestReadyMs",
            queue.lag ? Json(duration_cast<std::chrono::milliseconds>(*queue.lag).count()) : Json()}};
  if (columns == QueueColumns::depth) return row;
  row["workers"] = queue.workers;
  row["paused"] = queue.paused_for_all();
  auto& pauses = row["pauses"] = Json::array();
  for (const auto& pause : queue.pauses)
    pauses.push_back({{"node", pause.node.empty() ? Json() : Json(pause.node)},
                      {"reason", pause.reason},
                      {"requestedBy", pause.requester},
                      {"pausedAt", format_time(pause.since)}});
  return row;
}

}  // namespace stem::cli
