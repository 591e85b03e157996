#include <iostream>

#include <stem/json.hpp>

#include "cli/commands.hpp"
#include "worker/routing_file.hpp"

namespace stem::cli {
namespace {

// Read by read_routing() in a test.
constexpr auto sample =
    R"(# Which tasks go where. Name this file in STEM_ROUTING_CONFIG, for producers, workers and the scheduler.
# Jobs that fit no route go into the queue that they name, or into the default queue.
default_queue: default

queues:
  default:
    priority_range: [0, 7]
  critical:
    priority_range: [5, 9]    # 9 first

# The first that fits.
routes:
  - match:
      task: "example.*"       # or a list of patterns; beside it, headers: {tenant: big}
    target: {type: queue, name: critical}
    priority_override: 8
)";

Json as_json(const Routing& routing) {
  Json json{{"defaultQueue", {{"alias", routing.default_alias}, {"queue", routing.default_queue}}},
            {"queues", Json::object()}};
  for (const auto& [name, range] : routing.queues)
    json["queues"][name] = {{"priorityRange", {{"min", range.lowest}, {"max", range.highest}}}};
  for (const auto& [name, ttl] : routing.broadcasts)
    json["broadcasts"][name] = {{"ttl", format_duration(ttl)}};
  for (const auto& route : routing.routes) {
    auto match = Json::object();
    if (!route.tasks.empty()) match["task"] = route.tasks;
    if (!route.headers.empty()) match["headers"] = route.headers;
    if (!route.queue.empty()) match["queueOverride"] = route.queue;
    Json one{{"match", match},
             {"target", {{"type", route.to_everyone ? "broadcast" : "queue"}, {"name", route.target}}}};
    if (route.priority) one["priorityOverride"] = *route.priority;
    json["routes"].push_back(one);
  }
  return json;
}

int dump(bool wants_sample, const Common& common) {
  const auto file =
      wants_sample ? read_routing("sample", sample, "default") : routing_of(load_config(common));
  for (const auto& warning : file.warnings) std::cerr << "stem routing dump: " << warning << '\n';
  if (common.json)
    std::cout << as_json(file.routing).dump(2) << '\n';
  else
    std::cout << (wants_sample ? sample : to_yaml(file.routing));
  return 0;
}

}  // namespace

Work define_routing_dump(CLI::App& app, Common& common) {
  auto wants_sample = std::make_shared<bool>(false);
  app.add_flag("--sample", *wants_sample, "a file to begin with, instead of what is in force");
  return [wants_sample, &common] { return dump(*wants_sample, common); };
}

}  // namespace stem::cli
