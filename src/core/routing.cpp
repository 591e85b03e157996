#include "core/routing.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace stem {
namespace {

bool fits(const Route& route, const std::string& task, const std::map<std::string, std::string>& headers,
          const std::string& queue) {
  // A `*` stops at a slash: fnmatch(3), FNM_PATHNAME.
  const auto is_called = [&](const std::string& glob) {
    return fnmatch(glob.c_str(), task.c_str(), FNM_PATHNAME | FNM_NOESCAPE) == 0;
  };
  const auto has = [&](const auto& wanted) {
    const auto found = headers.find(wanted.first);
    return found != headers.end() && found->second == wanted.second;
  };
  return (route.tasks.empty() || std::any_of(route.tasks.begin(), route.tasks.end(), is_called)) &&
         std::all_of(route.headers.begin(), route.headers.end(), has) &&
         (route.queue.empty() || route.queue == queue);
}

}  // namespace

const std::string& Routing::queue_called(const std::string& name) const {
  const bool is_default =
      name.empty() || name == default_alias || (name == "default" && !queues.contains(name));
  return is_default ? default_queue : name;
}

Routing::Destination Routing::destination(std::string_view task,
                                          const std::map<std::string, std::string>& headers,
                                          const std::string& queue, int priority) const {
  const auto& asked = queue_called(queue);
  const std::string name(task);
  const auto route = std::find_if(routes.begin(), routes.end(), [&](const Route& one) {
    return fits(one, name, headers, queue.empty() ? queue : asked);
  });
  if (route == routes.end()) {
    const auto range = queues.find(asked);
    return {
        false,
        asked,
        range == queues.end() ? priority : std::clamp(priority, range->second.lowest, range->second.highest),
        {}};
  }
  const int wanted = route->priority.value_or(priority);
  if (route->to_everyone) return {true, route->target, wanted, broadcasts.at(route->target)};
  const auto range = queues.at(route->target);
  return {false, route->target, std::clamp(wanted, range.lowest, range.highest), {}};
}

}  // namespace stem
